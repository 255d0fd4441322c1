"""The examples of docs/python.md run, in the files that they name."""
import json
import re
import shutil
from pathlib import Path

import pytest
from lvis_data import make_samples
from saved_runs import save_predictions

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r'```python\n(.*?)```',
                      (ROOT / 'docs/python.md').read_text(), re.S)


@pytest.fixture
def folder(tiny_root, softmax_file, tmp_path, monkeypatch):
    """A user's folder with the demo's set, a detector and predictions."""
    shutil.copytree(tiny_root / 'data', tmp_path / 'data')
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    shutil.copy(softmax_file, tmp_path / 'detector.pth')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example(word, **changes):
    text, = (text for text in EXAMPLES if word in text)
    assert len(text.splitlines()) <= 15
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def run(text):
    space = {}
    exec(compile(text, 'docs/python.md', 'exec'), space)
    return space


def test_every_example_is_tested():
    words = ('read_annotations', 'evaluate_predictions', 'retrain_classifier',
             'DetInferencer')
    assert len(EXAMPLES) == len(words)
    assert all(map(example, words))


def test_a_file_is_read_and_its_tail_chosen(folder, capsys):
    space = run(example('read_annotations'))
    assert len(space['counts'].names) == 60
    assert 'tail ratio' in capsys.readouterr().out


def test_predictions_are_evaluated(folder):
    import numpy as np
    path = folder / 'data/tiny_lvis/annotations/tiny_lvis_val.json'
    samples = make_samples(
        np.random.default_rng(0), json.loads(path.read_text()))
    save_predictions(folder / 'predictions.pkl', samples)
    found = run(example('evaluate_predictions'))['found']
    assert 0 <= found.values['bbox_AP'] <= 1
    assert found.images == 24


@pytest.mark.slow
def test_a_classifier_is_trained_again(folder):
    found = run(example('retrain_classifier', **{'1000': '2'}))['found']
    assert found.loss > 0
    assert (folder / 'retrained.pth').exists()


def test_pictures_are_drawn_with_the_right_names(folder, monkeypatch):
    """From another folder, with masks as RLE."""
    other = folder / 'other'
    other.mkdir()
    pictures = other / 'data/tiny_lvis/val'
    pictures.mkdir(parents=True)
    for path in sorted((folder / 'data/tiny_lvis/val').iterdir())[:2]:
        shutil.copy(path, pictures)
    shutil.copy(folder / 'detector.pth', other)
    (other / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(other)
    text = example('DetInferencer', eql_tiny_lvis='baseline_tiny_lvis')
    space = run(text.replace('pred_score_thr=0.3', 'pred_score_thr=0'))
    names = json.loads(
        (folder / 'data/tiny_lvis/annotations/tiny_lvis_train.json'
         ).read_text())['categories']
    classes = space['inferencer'].visualizer.dataset_meta['classes']
    assert list(classes) == [category['name'] for category in names]
    assert len(list((other / 'out/vis').iterdir())) == 2
    saved = json.loads(next((other / 'out/preds').iterdir()).read_text())
    assert set(saved['masks'][0]) == {'size', 'counts'}


FROM_MMDET = re.findall(r'```python\n(.*?)```',
                        (ROOT / 'docs/from_mmdet.md').read_text(), re.S)


@pytest.mark.parametrize(
    'text, heads', [(FROM_MMDET[0], 1), (FROM_MMDET[1], 3)],
    ids=['faster', 'cascade'])
def test_a_config_of_mmdet_needs_these_lines(folder, text, heads):
    """The heads are ours, and everything else stays as it was."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.hub import get_config
    ann = folder / 'data/custom/annotations/train.json'
    ann.parent.mkdir(parents=True)
    shutil.copy(folder / 'data/tiny_lvis/annotations/tiny_lvis_train.json',
                ann)
    (folder / 'mine.py').write_text(
        text.replace('num_classes=80', 'num_classes=60'))
    cfg = Config.fromfile(folder / 'mine.py')
    base = get_config(text.split("'")[1])
    cfg.model.backbone.init_cfg = None
    if heads == 1:
        cfg.model.roi_head.bbox_head.num_classes = 60
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    found = model.roi_head.bbox_head
    found = list(found) if heads == 3 else [found]
    theirs = base.model.roi_head.bbox_head
    theirs = theirs if heads == 3 else [theirs]
    assert len(found) == len(theirs) == heads
    for mine, head in zip(found, theirs):
        assert type(mine).__name__ == 'EQLBBoxHead'
        assert type(mine.loss_cls).__name__ == 'ClassWeightedLoss'
        assert list(mine.bbox_coder.stds) == head.bbox_coder.target_stds
        assert type(mine.loss_bbox).__name__ == head.loss_bbox.type
        assert mine.reg_class_agnostic == head.reg_class_agnostic
