"""Pooled features are those that the host's training computes."""
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from eql_mmdet.retraining import pooling
from eql_mmdet.retraining.detector import (build_dataset, build_detector,
                                           feature_settings, load_detector,
                                           read_config)
from eql_mmdet.retraining.feature_files import Writer, shutil
from eql_mmdet.retraining.pooling import make_layout, pool, pool_image, to_rows

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs/quick/baseline_tiny_lvis.py')
NUM = 6
Setup = namedtuple('Setup', 'model data settings')


class First:
    """The first images of a data set."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return NUM

    def __getitem__(self, index):
        return self.dataset[index]


@pytest.fixture(scope='module')
def setup(tiny_root, softmax_file):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_root)
        # Testing proposes otherwise than training.
        cfg = read_config(CONFIG,
                          {'model.train_cfg.rpn_proposal.max_per_img': 90})
        cfg.train_dataloader.dataset.data_root = str(tiny_root /
                                                     'data/tiny_lvis')
        dataset = build_dataset(cfg)
        model = build_detector(cfg, dataset)
        load_detector(model, str(softmax_file), dataset.metainfo['classes'])
        settings = feature_settings(cfg, str(softmax_file))
    return Setup(model.eval(), First(dataset), settings)


def run(setup, folder, background=None, half=False, **kwargs):
    layout = make_layout(folder, setup.model, NUM, background, half)
    return pool(setup.model, setup.data, layout, setup.settings, background,
                **kwargs)


class Captured(Exception):
    pass


def hosts(model, item, index, monkeypatch):
    """What ``StandardRoIHead.loss`` gives its head for one image."""
    seen = {}
    head = model.roi_head.bbox_head

    def forward(values):
        seen['values'] = values
        return torch.zeros(len(values), 61), torch.zeros(len(values), 4)

    def loss(cls_score, bbox_pred, *targets, **kwargs):
        seen['targets'] = targets
        raise Captured

    monkeypatch.setattr(head, 'forward', forward)
    monkeypatch.setattr(head, 'loss', loss)
    data = model.data_preprocessor(pseudo_collate([item]), True)
    with torch.no_grad(), pytest.raises(Captured):
        x = model.extract_feat(data['inputs'])
        _, proposals = model.rpn_head.loss_and_predict(
            x, data['data_samples'], proposal_cfg=model.train_cfg.rpn_proposal)
        torch.manual_seed(index)
        model.roi_head.loss(x, proposals, data['data_samples'])
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize('index', range(3))
def test_features_are_those_of_the_hosts_training(setup, monkeypatch, index):
    seen = hosts(setup.model, setup.data[index], index, monkeypatch)
    torch.manual_seed(index)
    found = pool_image(setup.model, pseudo_collate([setup.data[index]]))
    torch.testing.assert_close(found.values, seen['values'], rtol=0, atol=0)
    torch.testing.assert_close((found.rois, *found.targets),
                               seen['targets'],
                               rtol=0,
                               atol=0)
    assert (found.targets[0] < 60).any() and (found.targets[0] == 60).any()


def test_files_hold_every_image_in_order(setup, tmp_path):
    features = run(setup, tmp_path / 'f')
    assert len(features.offsets) == NUM + 1
    for index in range(NUM):
        torch.manual_seed(index)
        found = pool_image(setup.model, pseudo_collate([setup.data[index]]))
        part = slice(*features.offsets[index:index + 2])
        np.testing.assert_array_equal(features.values[part], found.values)
        np.testing.assert_array_equal(features.rois[part], to_rows(found))


def test_half_precision_rounds_the_same_features(setup, tmp_path):
    whole = run(setup, tmp_path / 'whole')
    half = run(setup, tmp_path / 'half', half=True)
    assert half.values.dtype == np.float16
    np.testing.assert_array_equal(half.values, whole.values.astype('float16'))
    np.testing.assert_array_equal(half.rois, whole.rois)


def test_fewer_background_rois_are_a_part_of_all(setup, tmp_path):
    whole = run(setup, tmp_path / 'whole')
    few = run(setup, tmp_path / 'few', background=5)
    places = []
    for index in range(NUM):
        all_rows = whole.rois[slice(*whole.offsets[index:index + 2])]
        rows = few.rois[slice(*few.offsets[index:index + 2])]
        assert (rows['label'] == 60).sum() == 5
        known = [row.tobytes() for row in all_rows]
        places += [known.index(row.tobytes()) for row in rows[-5:]]
        np.testing.assert_array_equal(rows[rows['label'] < 60],
                                      all_rows[all_rows['label'] < 60])
    # The host sorts them by score: the first ones would be a choice.
    assert 8 < np.mean(places) < 28 and max(places) > 24


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_killed_pooling_goes_on_to_the_same_bytes(setup, tmp_path,
                                                  monkeypatch):
    run(setup, tmp_path / 'whole')
    host_add, calls = Writer.add, []

    def add(self, values, rois):
        calls.append(len(rois))
        if len(calls) == 4:
            self.files[0].write(b'half of an image')
            raise KeyboardInterrupt
        host_add(self, values, rois)

    monkeypatch.setattr(Writer, 'add', add)
    with pytest.raises(KeyboardInterrupt):
        run(setup, tmp_path / 'killed')
    assert contents(tmp_path / 'killed') != contents(tmp_path / 'whole')
    run(setup, tmp_path / 'killed')
    # Three images were kept, the fourth was begun twice.
    assert len(calls) == NUM + 1
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')


def test_finished_features_are_not_pooled_again(setup, tmp_path, monkeypatch):
    first = run(setup, tmp_path / 'f')
    monkeypatch.delattr(pooling, 'pool_image')
    again = run(setup, tmp_path / 'f')
    np.testing.assert_array_equal(first.values, again.values)


def test_other_precision_is_another_file(setup, tmp_path):
    run(setup, tmp_path / 'f')
    with pytest.raises(ValueError, match='another background, dtype'):
        run(setup, tmp_path / 'f', background=5, half=True)


def test_processes_that_load_images_change_nothing(setup, tmp_path):
    run(setup, tmp_path / 'a')
    run(setup, tmp_path / 'b', num_workers=2)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_pooling_does_not_begin_without_room(setup, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'free')(1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match='may need 0.00 GB more'):
        run(setup, tmp_path / 'f')
    assert list(contents(tmp_path / 'f')) == ['settings.json']


def test_the_model_is_left_as_it_was(setup, tmp_path):
    before = {k: v.clone() for k, v in setup.model.state_dict().items()}
    run(setup, tmp_path / 'f')
    torch.testing.assert_close(
        dict(setup.model.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize('background, most', [(None, 32), (5, 13), (0, 8),
                                              (90, 32)])
def test_the_bound_counts_foreground_and_background(setup, background, most):
    layout = make_layout('x', setup.model, NUM, background)
    assert layout.rois_per_image == most
    assert layout.most_bytes(1) == most * (48 * 49 * 4 + 64) + 8


def test_a_negative_background_is_refused(setup):
    with pytest.raises(ValueError, match='-1 of them background'):
        make_layout('x', setup.model, NUM, -1)
