"""A training step and a test image are timed, each system on the same."""
import sys

import pytest
import torch

from eql_mmdet.host import ops


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('benchmarks/bench_iteration')


@pytest.mark.slow
def test_table_has_both_rows(tool, tmp_path, monkeypatch, capsys):
    config = tmp_path / 'config.py'
    # Masks of 1230 categories take a minute for 300 detections.
    config.write_text(f"_base_ = '{tool.R50}'\n"
                      "model = dict(test_cfg=dict(rcnn=dict(max_per_img=2)))")
    monkeypatch.setattr(tool, 'R50', config)
    tool.main(['--repeat', '1', '--threads', '1', '--size', '32', '64'])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(' | ') for line in lines if line.startswith('| ')][1:]
    assert [row[0] for row in rows] == [
        '| a training step, quick config',
        '| an image at test time, R50, 32 x 64'
    ]
    compiled = not isinstance(sys.modules['mmcv._ext'], ops.StandIn)
    for row in rows:
        assert float(row[1]) > 0
        assert (row[3] != '- |') == compiled


@pytest.mark.slow
def test_both_systems_train_the_same_steps(tool, tmp_path):
    tool.init_default_scope('mmdet')
    cfg = tool.Config.fromfile(tool.QUICK)
    batches = tool.load_batches(cfg, tmp_path / 'data')
    assert len(batches) == tool.BATCHES
    assert {len(batch['inputs']) for batch in batches} == {16}
    runs = [tool.training(cfg, batches, torch.device('cpu')) for _ in range(2)]
    for _ in range(2):
        first, second = (run() for run in runs)
        torch.testing.assert_close(dict(first), dict(second))
