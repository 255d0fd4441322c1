"""RepeatFactorSampler: factors, expectation, ranks, epochs."""
import json
import math

import numpy as np
import pytest
import torch
from lvis_data import make_dataset, write_json
from mmdet.registry import DATA_SAMPLERS, DATASETS

from eql_mmdet.datasets import samplers

IMAGES = [[0]] * 60 + [[0, 1]] * 6 + [[2, 0, 2]] + [[]] * 3
FACTORS = [1.] * 60 + [np.sqrt(.5 /
                               (6 / 70))] * 6 + [np.sqrt(.5 * 70)] + [1.] * 3


class ListDataset(torch.utils.data.Dataset):
    """Images as lists of labels, with the host's ``get_cat_ids``."""

    def __init__(self, images=IMAGES):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def get_cat_ids(self, index):
        self.asked.append(index)
        return self.images[index]


def build(seed=0, rank=0, world_size=1, monkeypatch=None, threshold=0.5):
    if monkeypatch:
        monkeypatch.setattr(samplers, 'get_dist_info', lambda:
                            (rank, world_size))
    return DATA_SAMPLERS.build(
        dict(type='mmdet.RepeatFactorSampler', repeat_threshold=threshold),
        default_args=dict(dataset=ListDataset(), seed=seed))


def test_mean_repeats_equal_the_factors_within_statistical_error():
    sampler, epochs = build(), 400
    counts = np.zeros(len(IMAGES))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        counts += np.bincount(list(sampler), minlength=len(IMAGES))
    fraction = np.array(FACTORS) % 1
    error = np.sqrt(fraction * (1 - fraction) / epochs)
    assert (np.abs(counts / epochs - FACTORS) <= 4.5 * error + 1e-12).all()
    assert (counts[67:] == epochs).all()  # images without annotations


def test_each_epoch_rounds_up_or_down():
    sampler = build()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        counts = np.bincount(list(sampler), minlength=len(IMAGES))
        assert (counts >= np.floor(FACTORS)).all()
        assert (counts <= np.ceil(FACTORS)).all()


@pytest.mark.parametrize('world_size', [2, 3, 8])
def test_ranks_cover_the_epoch_without_overlap(monkeypatch, world_size):
    whole = build()
    whole.set_epoch(3)
    shards = []
    for rank in range(world_size):
        sampler = build(0, rank, world_size, monkeypatch)
        sampler.set_epoch(3)
        assert len(list(sampler)) == len(sampler)
        shards.append(list(sampler))
    assert len({len(shard) for shard in shards}) == 1
    dealt = [index for turn in zip(*shards) for index in turn]
    assert dealt[:len(whole)] == list(whole)
    assert len(dealt) - len(whole) < world_size


def test_epochs_and_seeds_differ_and_repeat():
    a, b = build(seed=1), build(seed=1)
    first = list(a)
    assert list(b) == first
    a.set_epoch(1)
    assert list(a) != first
    b.set_epoch(1)
    assert list(b) == list(a)
    assert list(build(seed=2)) != first


def plain_factors(images, threshold):
    """The definition of Gupta et al., one image and category at a time."""
    found = {}
    for categories in images:
        for category in set(categories):
            found[category] = found.get(category, 0) + 1
    factors = []
    for categories in images:
        factor = 1.0
        for category in categories:
            frequency = found[category] / len(images)
            factor = max(factor, math.sqrt(threshold / frequency))
        factors.append(factor)
    return factors


def long_tailed_images(seed):
    rng = np.random.default_rng(seed)
    return [
        np.minimum(rng.zipf(1.6, rng.integers(0, 6)), 40).tolist()
        for _ in range(rng.integers(1, 300))
    ]


@pytest.mark.parametrize('threshold', [5e-4, 0.02, 0.3, 1.0])
@pytest.mark.parametrize('seed', range(5))
def test_factors_of_random_images_equal_the_plain_loop(seed, threshold):
    images = long_tailed_images(seed)
    dataset = ListDataset(images)
    sampler = samplers.RepeatFactorSampler(dataset, threshold, seed=0)
    np.testing.assert_allclose(
        sampler.repeat_factors, plain_factors(images, threshold), rtol=1e-12)
    assert sampler.dataset is dataset


@pytest.mark.parametrize('images', [[], [[]], [[], []]])
def test_images_without_annotations_are_shown_once(images):
    sampler = samplers.RepeatFactorSampler(ListDataset(images), 0.5, seed=0)
    assert sorted(sampler) == list(range(len(images)))


@pytest.mark.parametrize('filtered', [False, True])
@pytest.mark.parametrize('kind', ['LVISV05Dataset', 'LVISFormatDataset'])
def test_factors_of_an_lvis_file_equal_the_plain_loop(tmp_path, kind,
                                                      filtered):
    content = make_dataset(np.random.default_rng(3), images=60, categories=9)
    objects = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        objects[annotation['image_id']].append(annotation['category_id'])
    assert any(not found for found in objects.values())
    dataset = DATASETS.build(
        dict(
            type=kind,
            _scope_='mmdet',
            ann_file=write_json(tmp_path / 'train.json', content),
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=filtered),
            pipeline=[]))
    order = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    shown = [objects[image] for image in order]
    assert len(shown) == sum(bool(x) or not filtered for x in objects.values())
    sampler = samplers.RepeatFactorSampler(dataset, 0.3, seed=0)
    np.testing.assert_allclose(
        sampler.repeat_factors, plain_factors(shown, 0.3), rtol=1e-12)
    assert sampler.repeat_factors.max() > 1


def test_factors_of_the_synthetic_set_equal_the_plain_loop(tiny_root):
    root = tiny_root / 'data/tiny_lvis'
    dataset = DATASETS.build(
        dict(
            type='LVISFormatDataset',
            _scope_='mmdet',
            ann_file=str(root / 'annotations/tiny_lvis_train.json'),
            data_prefix=dict(img=''),
            pipeline=[]))
    content = json.loads(
        (root / 'annotations/tiny_lvis_train.json').read_text())
    shown = [[
        a['category_id'] for a in content['annotations']
        if a['image_id'] == dataset.get_data_info(i)['img_id']
    ] for i in range(len(dataset))]
    sampler = samplers.RepeatFactorSampler(dataset, 0.1, seed=0)
    np.testing.assert_allclose(
        sampler.repeat_factors, plain_factors(shown, 0.1), rtol=1e-12)


def test_start_up_asks_once_for_each_image():
    dataset = ListDataset()
    samplers.RepeatFactorSampler(dataset, 0.5, seed=0)
    assert dataset.asked == list(range(len(IMAGES)))


def test_dataset_without_categories_is_refused():
    with pytest.raises(TypeError, match='list has none'):
        samplers.RepeatFactorSampler([1, 2], 0.5, seed=0)


def test_wrong_threshold_is_refused():
    with pytest.raises(ValueError, match='repeat threshold'):
        build(threshold=0)
