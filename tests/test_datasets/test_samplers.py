"""RepeatFactorSampler: expectation, ranks, epochs, the host's loader."""
import numpy as np
import pytest
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.runner import Runner

from eql_mmdet.datasets import samplers

IMAGES = [[0]] * 60 + [[0, 1]] * 6 + [[2, 0, 2]] + [[]] * 3
FACTORS = [1.] * 60 + [np.sqrt(.5 /
                               (6 / 70))] * 6 + [np.sqrt(.5 * 70)] + [1.] * 3


class ListDataset(torch.utils.data.Dataset):
    """Images as lists of labels, with the host's ``get_cat_ids``."""

    metainfo = {}

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return dict(index=index, data_samples=None)

    def get_cat_ids(self, index):
        return IMAGES[index]


def build(seed=0, rank=0, world_size=1, monkeypatch=None, threshold=0.5):
    if monkeypatch:
        monkeypatch.setattr(samplers, 'get_dist_info', lambda:
                            (rank, world_size))
    return DATA_SAMPLERS.build(
        dict(type='RepeatFactorSampler', repeat_threshold=threshold),
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


def test_loader_of_the_host_starts_every_epoch_with_a_new_list():
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=1,
            persistent_workers=True,
            dataset=ListDataset(),
            sampler=dict(
                type='mmdet.RepeatFactorSampler', repeat_threshold=0.5),
            collate_fn=dict(type='pseudo_collate')),
        seed=0)
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        seen.append([i for batch in loader for i in batch['index']])
        assert seen[-1] == list(loader.sampler)
    assert seen[0] != seen[1]


def test_dataset_without_categories_is_refused():
    with pytest.raises(TypeError, match='list has none'):
        samplers.RepeatFactorSampler([1, 2], 0.5, seed=0)


def test_wrong_threshold_is_refused():
    with pytest.raises(ValueError, match='repeat threshold'):
        build(threshold=0)
