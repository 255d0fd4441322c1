"""tools/convert_detectron2.py: checkpoints of detectron2, there and back."""
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from detectron2_model import make_model
from mmdet.apis import init_detector
from mmengine.logging import HistoryBuffer

ROOT = Path(__file__).parents[2]
#: What the quick config must change to hold the model of these tests.
CONFIG = f"""
_base_ = '{ROOT}/configs/quick/eql_tiny_lvis.py'
model = dict(
    backbone=dict(
        depth=50, base_channels=4, stem_channels=8, style='caffe'),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=8, norm_cfg=None),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=8),
        mask_head=dict(num_convs=4, in_channels=8, conv_out_channels=6)))
"""


@pytest.fixture
def model():
    """EQL's outputs, class-agnostic boxes and masks."""
    return make_model(scores=60, boxes=1, masks=1)


@pytest.fixture
def convert(load_tool, tmp_path, monkeypatch):
    """Run the tool in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: load_tool('convert_detectron2').main(args)


def save(model, path):
    """As detectron2 writes it in training, or publishes it."""
    if path.endswith('.pth'):
        torch.save(
            dict(model=model, iteration=9, optimizer=dict(state={})), path)
    else:
        arrays = {k: v.numpy() for k, v in model.items()}
        data = dict(model=arrays, __author__='Detectron2 Model Zoo')
        Path(path).write_bytes(pickle.dumps(data))


def load(path):
    if path.endswith('.pth'):
        return torch.load(path, weights_only=True)['model']
    found = pickle.loads(Path(path).read_bytes())
    assert found['__author__']
    return {k: torch.from_numpy(v) for k, v in found['model'].items()}


@pytest.mark.parametrize('depth', [50, 101])
@pytest.mark.parametrize('suffix', ['.pth', '.pkl'])
@pytest.mark.parametrize('heads', [(60, 60, 60), (61, 60, 60), (60, 60, 1),
                                   (61, 1, 60)])
def test_files_are_the_same_after_there_and_back(convert, capsys, depth,
                                                 suffix, heads):
    model = make_model(
        **dict(zip(('scores', 'boxes', 'masks'), heads)), depth=depth)
    save(model, f'theirs{suffix}')
    convert(f'theirs{suffix}', 'ours.pth')
    shown = capsys.readouterr().out.splitlines()
    convert('ours.pth', f'back{suffix}', '--reverse')
    back = load(f'back{suffix}')
    assert set(back) == set(model)
    assert all(back[k].equal(v) for k, v in model.items())
    arrows = [line.split(' -> ') for line in shown if ' -> ' in line]
    state = torch.load('ours.pth', weights_only=True)['state_dict']
    assert {old for old, _ in arrows} == set(model)
    assert {new.split()[0]
            for _, new in arrows
            } == {k
                  for k in state if 'num_batches' not in k}
    assert f'ours.pth: {len(model)} tensors converted, none left' in shown
    assert any(f'ResNet-{depth}' in line for line in shown)


def test_checkpoints_of_training_are_converted_back(convert, model, capsys):
    save(model, 'theirs.pth')
    convert('theirs.pth', 'ours.pth')
    trained = torch.load('ours.pth', weights_only=True)
    trained.update(meta=dict(epoch=1), message_hub=HistoryBuffer([1.0], [1]))
    torch.save(trained, 'epoch_1.pth')
    capsys.readouterr()
    convert('epoch_1.pth', 'back.pth', '--reverse')
    assert 'left out: meta, message_hub' in capsys.readouterr().out
    assert set(load('back.pth')) == set(model)


@pytest.mark.slow
@pytest.mark.parametrize('named', [False, True])
def test_the_host_tests_what_was_converted(convert, model, tiny_root, tmp_path,
                                           run_tool, annotations, named):
    save(model, 'theirs.pth')
    convert('theirs.pth', 'ours.pth',
            *(['--classes', str(annotations)] if named else []))
    (tmp_path / 'config.py').write_text(CONFIG)
    output = run_tool(
        'test.py',
        tmp_path / 'config.py',
        tmp_path / 'ours.pth',
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        'test_dataloader.dataset.indices=2',
        cwd=tiny_root)
    assert 'Load checkpoint from' in output
    assert 'do not match' not in output and 'size mismatch' not in output
    assert re.search(r'lvis/bbox_AP: [\d.]+', output)


@pytest.fixture
def annotations(tiny_root):
    """Annotations of a set with as many categories as the model."""
    return tiny_root / 'data/tiny_lvis/annotations/tiny_lvis_val.json'


def test_the_host_shows_the_names_that_were_given(convert, model, annotations,
                                                  tmp_path):
    save(model, 'theirs.pth')
    convert('theirs.pth', 'ours.pth', '--classes', str(annotations))
    (tmp_path / 'config.py').write_text(CONFIG)
    detector = init_detector('config.py', 'ours.pth', device='cpu')
    assert list(detector.dataset_meta['classes']) == [
        c['name'] for c in json.loads(annotations.read_text())['categories']
    ]


def test_a_set_that_is_not_known_is_converted_without_names(
        convert, model, capsys):
    save(model, 'theirs.pth')
    convert('theirs.pth', 'ours.pth')
    assert ('no class names: 60 or 59 categories are of none of LVIS v0.5, '
            'LVIS v1, COCO; --classes ANN') in capsys.readouterr().out
    meta = torch.load('ours.pth', weights_only=True)['meta']
    assert 'dataset_meta' not in meta


@pytest.mark.parametrize('args, message', [
    (['--classes', 'lvis_v1'], 'the 60 or 59 categories .* but got 1203'),
    (['--classes', 'none.json'], 'none.json'),
    (['--classes', 'names.txt'], 'names.txt'),
    (['--classes', 'lvis_v1', '--reverse'], 'for the way to mmdet'),
])
def test_classes_that_do_not_fit_are_refused_in_one_line(
        convert, model, args, message):
    save(model, 'theirs.pth')
    with pytest.raises(SystemExit, match=message) as error:
        convert('theirs.pth', 'ours.pth', *args)
    assert len(str(error.value).splitlines()) == 1
    assert os.listdir() == ['theirs.pth']


def test_nothing_is_overwritten(convert, model, tmp_path):
    save(model, 'theirs.pth')
    Path('ours.pth').write_text('mine')
    with pytest.raises(SystemExit, match='"ours.pth" is already there'):
        convert('theirs.pth', 'ours.pth')
    with pytest.raises(SystemExit, match='already there'):
        convert('theirs.pth', 'theirs.pth')
    assert Path('ours.pth').read_text() == 'mine'


def drop(model):
    del model['backbone.fpn_output4.bias']


def add(model):
    model['roi_heads.keypoint_head.conv_fcn1.bias'] = torch.zeros(2)


def reshape(model):
    name = 'roi_heads.box_head.fc2.weight'
    model[name] = model[name][:, 1:]


@pytest.mark.parametrize('suffix', ['.pth', '.pkl'])
@pytest.mark.parametrize('spoil, message', [
    (drop, 'missing: backbone.fpn_output4.bias'),
    (add, 'unknown: roi_heads.keypoint_head.conv_fcn1.bias'),
    (reshape, r'fc2.weight: expected \(16, 16\), but got \(16, 15\)'),
])
def test_other_models_are_refused_and_nothing_written(convert, model, suffix,
                                                      spoil, message):
    spoil(model)
    save(model, f'theirs{suffix}')
    with pytest.raises(SystemExit, match=message):
        convert(f'theirs{suffix}', 'ours.pth')
    assert os.listdir() == [f'theirs{suffix}']


@pytest.mark.parametrize('args, message', [
    (['none.pth', 'ours.pth'], 'no checkpoint "none.pth"'),
    (['none.pkl', 'ours.pth'], 'none.pkl'),
    (['theirs.pth', 'ours.pkl'], 'ends in .pth, but got "ours.pkl"'),
    (['theirs.pth', 'ours'], 'ends in .pth, but got "ours"'),
    (['theirs.pth', 'ours.onnx', '--reverse'], 'ends in .pth or .pkl'),
    (['theirs.pth', 'back.pth', '--reverse'], 'the other way round'),
    (['text.pth', 'ours.pth'], 'damaged'),
    (['text.pkl', 'ours.pth'], 'damaged'),
])
def test_wrong_files_are_refused_and_nothing_written(convert, model, args,
                                                     message):
    save(model, 'theirs.pth')
    Path('text.pth').write_text('no checkpoint')
    Path('text.pkl').write_text('no checkpoint')
    before = sorted(os.listdir())
    with pytest.raises(SystemExit, match=message):
        convert(*args)
    assert sorted(os.listdir()) == before


class Payload:

    def __reduce__(self):
        return os.system, ('touch HACKED', )


@pytest.mark.parametrize('suffix, write', [
    ('.pkl', lambda data, path: Path(path).write_bytes(pickle.dumps(data))),
    ('.pth', torch.save),
])
def test_code_in_a_file_is_not_run(convert, model, suffix, write):
    write(dict(extra=Payload(), model=model), f'theirs{suffix}')
    with pytest.raises(SystemExit, match=r'posix\.system'):
        convert(f'theirs{suffix}', 'ours.pth')
    assert os.listdir() == [f'theirs{suffix}']


@pytest.mark.slow
def test_the_tool_runs_as_a_program(convert, model, tmp_path, run_tool):
    save(model, 'theirs.pkl')
    shown = run_tool(
        'convert_detectron2.py', 'theirs.pkl', 'ours.pth', cwd=tmp_path)
    assert 'ours.pth: 307 tensors converted, none left' in shown
