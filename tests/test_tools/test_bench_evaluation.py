"""Every system of the benchmark evaluates the same input."""
import argparse
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path('/proc/self/clear_refs').exists(),
    reason='the benchmark reads its memory from /proc')


@pytest.fixture(scope='module')
def input_dir(load_tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bench') / 'input'
    load_tool('benchmarks/make_bench_input').main([
        str(folder), '--images', '12', '--detections', '40', '--categories',
        '30'
    ])
    return folder


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_all_systems_give_the_same_ap(load_tool, input_dir, metric):
    tool = load_tool('benchmarks/bench_evaluation')
    args = argparse.Namespace(input_dir=str(input_dir), process_images=2)
    found = {
        system: tool.compute(args, system, metric)
        for system in tool.SYSTEMS
    }
    average_precision = found['lvis']['AP']
    assert average_precision > 0.1
    assert found['hotcoco']['AP'] == average_precision
    assert found['ours_lvis']['AP'] == average_precision
    assert found['mmdet']['AP'] == round(average_precision, 3)
    for row in found.values():
        assert row['time'] > 0 and row['peak'] > 100


@pytest.mark.parametrize('system', ['hotcoco', 'mmdet'])
def test_process_is_timed_on_real_masks(load_tool, input_dir, system):
    tool = load_tool('benchmarks/bench_evaluation')
    args = argparse.Namespace(input_dir=str(input_dir), process_images=2)
    assert tool.process(args, system, 'segm')['process'] > 0


def test_a_table_with_ratios_is_printed(load_tool, input_dir, monkeypatch,
                                        capsys):
    tool = load_tool('benchmarks/bench_evaluation')
    row = dict(time=1.0, held=1.0, peak=4.0, above=2.0, AP=0.5)
    slow = dict(time=50.0, held=2.0, peak=20.0, above=18.0, AP=0.5)

    def run_job(args, job, system, metric):
        if job == 'process':
            return dict(process=30.0 if system == 'mmdet' else 3.0)
        return dict(slow if system == 'mmdet' else row)

    monkeypatch.setattr(tool, 'run_job', run_job)
    tool.main([str(input_dir), '--metrics', 'segm'])
    shown = capsys.readouterr().out
    assert 'process 10.0 x, compute_metrics 50.0 x, peak memory 5.0 x' in shown
    assert '| ours, engine hotcoco | 3.0 | 1.0 | 1.0 | 4.0 | 2.0 |' in shown


def test_input_is_not_overwritten(load_tool, input_dir):
    with pytest.raises(FileExistsError):
        load_tool('benchmarks/make_bench_input').main([str(input_dir)])
