"""tools/retrain_classifier.py from a checkpoint to a tested one."""
import re
from pathlib import Path

import pytest
import torch
from mmdet.apis import init_detector

ROOT = Path(__file__).parents[2]
QUICK = ROOT / 'configs/quick'
SHORT = ['--steps', '4', '--rois-per-step', '48']


@pytest.fixture
def retrain(load_tool, tiny_root, softmax_file, tmp_path, monkeypatch):
    """Run the tool on the tiny set; its features stay between calls."""
    monkeypatch.chdir(tiny_root)
    tool = load_tool('retrain_classifier')

    def run(config, out, *options, checkpoint=softmax_file):
        tool.main([
            str(QUICK / f'{config}_tiny_lvis.py'),
            str(checkpoint), '--out',
            str(tmp_path / out), *SHORT, *options
        ])
        return torch.load(tmp_path / out)

    return run


@pytest.mark.slow
def test_another_loss_is_trained_and_tested(retrain, load_tool, tmp_path,
                                            monkeypatch, capsys):
    saved = retrain('eql_rfs', 'eql.pth')
    printed = capsys.readouterr().out
    assert 'fc_cls.weight (61, 256)' in printed
    command = re.search(r'tools/test.py (\S+) (\S+)', printed)
    assert command[2] == str(tmp_path / 'eql.pth')
    assert len(saved['meta']['dataset_meta']['classes']) == 60
    assert saved['meta']['retrained']['steps'] == 4
    weight = saved['state_dict']['roi_head.bbox_head.fc_cls.weight']
    assert weight.shape == (60, 256)
    model = init_detector(command[1], command[2], device='cpu')
    assert model.dataset_meta['classes'] == tuple(
        saved['meta']['dataset_meta']['classes'])
    monkeypatch.setattr('sys.argv', ['test'])
    load_tool('test').main([
        command[1], command[2], '--work-dir',
        str(tmp_path / 'tested'), '--cfg-options',
        'model.test_cfg.rcnn.max_per_img=10', 'test_evaluator.metric=bbox'
    ])
    tested = next(tmp_path.rglob('tested/*/*.json')).read_text()
    assert '"lvis/bbox_AP"' in tested


def test_only_the_box_head_is_changed(retrain, softmax_file):
    old = torch.load(softmax_file)['state_dict']
    new = retrain('baseline', 'new.pth')['state_dict']
    assert old.keys() == new.keys()
    changed = {k for k in old if not torch.equal(old[k], new[k])}
    assert changed == {k for k in old if k.startswith('roi_head.bbox_head.')}


def same(first, second):
    return all(
        torch.equal(value, second['state_dict'][name])
        for name, value in first['state_dict'].items())


@pytest.mark.slow
def test_a_seed_repeats_itself_and_another_does_not(retrain):
    runs = [
        retrain('rfs', f'{i}.pth', '--seed', seed)
        for i, seed in enumerate('001')
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_features_serve_every_loss(retrain, monkeypatch):
    softmax = retrain('baseline', 'a.pth')
    monkeypatch.setattr('eql_mmdet.retraining.pooling.pool_image', None)
    sigmoid = retrain('eql', 'b.pth')
    outputs = [
        len(found['state_dict']['roi_head.bbox_head.fc_cls.bias'])
        for found in (softmax, sigmoid)
    ]
    assert outputs == [61, 60]


@pytest.mark.slow
def test_features_can_be_small(retrain, tmp_path):
    folder = tmp_path / 'small'
    retrain('baseline', 'a.pth', '--half', '--background', '3',
            '--rois-per-image', '16', '--features', str(folder))
    counts = (folder / 'counts.bin').stat().st_size // 8
    rois = (folder / 'rois.bin').stat().st_size // 64
    assert 3 * counts < rois <= (3 + 4) * counts
    assert (folder / 'features.bin').stat().st_size == rois * 48 * 49 * 2


@pytest.mark.parametrize('options, message', [
    (['--rois-per-image', '9'], 'another rois .*--features'),
    (['--lr', '-1'], 'expected lr > 0, but got -1'),
    (['--lr', '1e30'], 'loss is (nan|inf) in step .* smaller --lr'),
    (['--device', 'toaster'], 'device of torch, but got "toaster"'),
    ([
        '--cfg-options',
        'model.roi_head.bbox_head.loss_cls.frequency_source=none.json'
    ], 'there was no frequency_source="none.json"'),
])
def test_wrong_options_are_refused(retrain, tmp_path, options, message):
    if 'rois' in options[0]:
        retrain('eql', 'there.pth')
    with pytest.raises(SystemExit, match=f'^retrain_classifier: .*{message}'):
        retrain('eql', 'new.pth', *options)
    assert not (tmp_path / 'new.pth').exists()


def test_nothing_is_overwritten(retrain, tmp_path):
    (tmp_path / 'a.pth').write_text('precious')
    with pytest.raises(SystemExit, match='already there'):
        retrain('eql', 'a.pth')
    assert (tmp_path / 'a.pth').read_text() == 'precious'


def test_missing_files_are_named(retrain):
    with pytest.raises(SystemExit, match='no "none.pth"'):
        retrain('eql', 'a.pth', checkpoint='none.pth')
    with pytest.raises(SystemExit, match='config to be a file'):
        retrain('none', 'a.pth')


@pytest.mark.slow
def test_the_default_name_is_that_of_the_config(load_tool, tiny_root,
                                                softmax_file, tmp_path,
                                                monkeypatch):
    (tmp_path / 'data').symlink_to(tiny_root / 'data')
    monkeypatch.chdir(tmp_path)
    load_tool('retrain_classifier').main([
        str(QUICK / 'eql_tiny_lvis.py'),
        str(softmax_file), '--features',
        str(tmp_path / 'f'), *SHORT
    ])
    assert (tmp_path / 'work_dirs/eql_tiny_lvis/retrained.pth').is_file()
