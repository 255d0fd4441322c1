"""The samplers of the configs in the host's loops, loaders and ranks."""
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lvis_data import make_dataset, write_json
from mmdet.datasets.samplers import class_aware_sampler
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.model import BaseModel
from mmengine.runner import Runner, loops

from eql_mmdet.datasets import samplers

RFS = dict(type='mmdet.RepeatFactorSampler', repeat_threshold=0.5)
CAS = dict(type='mmdet.ClassAwareSampler')
INFINITE = dict(type='InfiniteSampler')
#: Of 23 images, every third is upright.
IMAGES = [[0], [0, 1], [0, 2]] * 7 + [[3], []]


class Pictures(torch.utils.data.Dataset):
    """Images that are their own number, with categories and shapes."""
    metainfo = dict(classes=('a', 'b', 'c', 'd', 'never'))

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return dict(inputs=torch.tensor(index))

    def get_cat_ids(self, index):
        return IMAGES[index]

    def get_data_info(self, index):
        return dict(width=100, height=120 if upright(index) else 80)


def upright(index):
    return index % 3 == 0


class Memory(BaseModel):
    """A model that remembers the batches it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.batches, self.rates = [], []

    def train_step(self, data, optim_wrapper):
        self.batches.append(numbers(data))
        self.rates += optim_wrapper.get_lr()['lr']
        return super().train_step(data, optim_wrapper)

    def forward(self, inputs, mode):
        return dict(loss=self.weight.sum())


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train ``Memory`` with one of the samplers and return it."""
    # The host waits between epochs for processes that are not there.
    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda s: None))

    def run(sampler, train_cfg, grouped=False, **settings):
        loader = dict(
            batch_size=4,
            dataset=Pictures(),
            sampler=dict(sampler),
            collate_fn=dict(type='pseudo_collate'))
        if grouped:
            loader['batch_sampler'] = dict(
                type='mmdet.AspectRatioBatchSampler')
        runner = Runner(
            Memory(),
            str(tmp_path),
            loader,
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
            randomness=dict(seed=5),
            default_scope='mmdet',
            experiment_name=f'run{len(list(tmp_path.iterdir()))}',
            **settings)
        return runner.train()

    return run


def by_iter(count):
    return dict(type='IterBasedTrainLoop', max_iters=count)


def by_epoch(count):
    return dict(type='EpochBasedTrainLoop', max_epochs=count)


def stream(sampler, epochs):
    """What a sampler of one process yields in each epoch."""
    sampler = DATA_SAMPLERS.build(
        sampler, default_args=dict(dataset=Pictures(), seed=5))
    lists = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        lists.append(list(sampler))
    return lists


def batches_of(indices):
    return [indices[i:i + 4] for i in range(0, len(indices), 4)]


@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_iteration_loop_shows_epoch_after_epoch(train, sampler):
    expected = [b for e in stream(sampler, 4) for b in batches_of(e)][:20]
    seen = train(sampler, by_iter(20)).batches
    assert seen == expected


@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_epoch_loop_draws_a_new_list_each_epoch(train, sampler):
    expected = [b for e in stream(sampler, 3) for b in batches_of(e)]
    assert train(sampler, by_epoch(3)).batches == expected


@pytest.fixture
def loader():
    """Build a loader of the host whose workers outlive the epochs."""

    def build(sampler):
        return Runner.build_dataloader(
            dict(
                batch_size=4,
                num_workers=2,
                persistent_workers=True,
                dataset=Pictures(),
                sampler=dict(sampler),
                collate_fn=dict(type='pseudo_collate')),
            seed=5)

    return build


def numbers(batch):
    return [int(index) for index in batch['inputs']]


@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_persistent_workers_see_the_list_of_each_epoch(loader, sampler):
    loader = loader(sampler)
    for epoch, expected in enumerate(stream(sampler, 3)):
        loader.sampler.set_epoch(epoch)
        assert list(map(numbers, loader)) == batches_of(expected)


@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_persistent_workers_go_from_epoch_to_epoch(loader, sampler,
                                                   monkeypatch):
    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda s: None))
    iterator = loops._InfiniteDataloaderIterator(loader(sampler))
    for expected in stream(sampler, 3):
        seen = [numbers(next(iterator)) for _ in batches_of(expected)]
        assert seen == batches_of(expected)


BY_ITER = by_iter(20), dict(by_epoch=False, interval=11), 'iter_11.pth'
BY_EPOCH = by_epoch(4), dict(by_epoch=True, interval=2), 'epoch_2.pth'


@pytest.mark.parametrize('sampler, loop, checkpoint, name',
                         [(RFS, *BY_ITER), (RFS, *BY_EPOCH), (CAS, *BY_ITER),
                          (CAS, *BY_EPOCH), (INFINITE, *BY_ITER)])
@pytest.mark.parametrize('grouped', [False, True])
def test_resumed_training_goes_on_where_it_stopped(train, tmp_path, sampler,
                                                   grouped, loop, checkpoint,
                                                   name):
    hooks = dict(checkpoint=dict(type='CheckpointHook', **checkpoint))
    whole = train(sampler, loop, grouped, default_hooks=hooks)
    rest = train(
        sampler, loop, grouped, load_from=str(tmp_path / name), resume=True)
    assert 0 < len(rest.batches) < len(whole.batches)
    assert rest.batches == whole.batches[-len(rest.batches):]


@pytest.mark.parametrize('sampler', [RFS, CAS, INFINITE])
def test_batches_hold_one_orientation(train, sampler):
    seen = train(sampler, by_iter(40), grouped=True).batches
    mixed = [b for b in seen if len({upright(i) for i in b}) > 1]
    short = [b for b in seen if len(b) < 4]
    if sampler is INFINITE:  # nothing is ever left over, as in detectron2
        assert not mixed and not short
    else:  # what is left at the end of an epoch goes together
        epochs = 40 * 4 // len(Pictures()) + 1
        assert len(mixed) <= 2 * epochs and len(short) <= epochs
    assert len(seen) == 40


@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_grouping_loses_no_image_of_an_epoch(train, sampler):
    seen = train(sampler, by_epoch(1), grouped=True).batches
    assert Counter(i for b in seen
                   for i in b) == Counter(stream(sampler, 1)[0])


def test_schedule_by_epoch_fits_epochs_of_changing_length(train):
    lengths = {len(batches_of(e)) for e in stream(RFS, 8)}
    assert len(lengths) > 1
    schedule = dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=8,
        eta_min=0.1)
    rates = train(RFS, by_epoch(8), param_scheduler=[schedule]).rates
    assert len(rates) == sum(len(batches_of(e)) for e in stream(RFS, 8))
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(0.1, abs=0.05)
    assert all(0.1 - 1e-9 <= b <= a + 1e-9 for a, b in zip(rates, rates[1:]))


def fake_ranks(monkeypatch, sampler, world_size):
    dealt = []
    for rank in range(world_size):
        for module in (samplers, class_aware_sampler):
            monkeypatch.setattr(module, 'get_dist_info', lambda:
                                (rank, world_size))
        dealt.append(
            DATA_SAMPLERS.build(
                sampler, default_args=dict(dataset=Pictures(), seed=5)))
    return dealt


@pytest.mark.parametrize('epoch', [0, 3])
@pytest.mark.parametrize('world_size', [2, 3])
@pytest.mark.parametrize('sampler', [RFS, CAS])
def test_ranks_have_as_many_batches_and_the_epoch_between_them(
        monkeypatch, sampler, world_size, epoch):
    whole = DATA_SAMPLERS.build(
        sampler, default_args=dict(dataset=Pictures(), seed=5))
    whole.set_epoch(epoch)
    whole = Counter(whole)
    seen, lengths = Counter(), set()
    for part in fake_ranks(monkeypatch, sampler, world_size):
        part.set_epoch(epoch)
        batches = list(
            DATA_SAMPLERS.build(
                dict(
                    type='mmdet.AspectRatioBatchSampler',
                    sampler=part,
                    batch_size=2)))
        lengths.add(len(batches))
        seen.update(i for batch in batches for i in batch)
    assert len(lengths) == 1
    assert sum((whole - seen).values()) == 0
    assert sum((seen - whole).values()) < world_size


def test_class_aware_sampling_shows_each_category_as_often(tmp_path):
    content = make_dataset(np.random.default_rng(3), images=60, categories=9)
    used = {a['category_id'] for a in content['annotations']}
    content['categories'].append(
        dict(id=999, name='absent', frequency='r', image_count=0))
    dataset = DATASETS.build(
        dict(
            type='mmdet.LVISFormatDataset',
            ann_file=write_json(tmp_path / 'train.json', content),
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[]))
    sampler = DATA_SAMPLERS.build(
        dict(CAS), default_args=dict(dataset=dataset, seed=0))
    turns = len(sampler) // len(used)
    assert len(sampler.valid_cat_inds) == len(used) == 9
    shown = list(sampler)
    for turn in range(turns):  # one image of each category in every turn
        images = shown[9 * turn:9 * turn + 9]
        found = [set(dataset.get_cat_ids(i)) for i in images]
        assert can_be_matched(found, sampler.valid_cat_inds)


def can_be_matched(found, categories):
    """Whether each category can have an image of its own."""
    owner = {}

    def give(category, tried):
        for image, present in enumerate(found):
            if category in present and image not in tried:
                tried.add(image)
                if image not in owner or give(owner[image], tried):
                    owner[image] = category
                    return True
        return False

    return all(give(category, set()) for category in categories)


EPOCH = '''
from test_samplers_in_loops import CAS, DATA_SAMPLERS, RFS, Pictures
result = {}
for settings in (RFS, CAS):
    sampler = DATA_SAMPLERS.build(
        settings, default_args=dict(dataset=Pictures()))
    sampler.set_epoch(2)
    result[settings['type']] = sampler.seed, list(sampler)
'''


def test_two_processes_share_the_seed_and_the_epoch(two_processes):
    first, second = two_processes(EPOCH)
    for settings in (RFS, CAS):
        (seed, one), (other_seed, two) = (
            seen[settings['type']] for seen in (first, second))
        whole = DATA_SAMPLERS.build(
            settings, default_args=dict(dataset=Pictures(), seed=seed))
        whole.set_epoch(2)
        whole = Counter(whole)
        assert seed == other_seed and len(one) == len(two)
        assert sum((whole - Counter(one + two)).values()) == 0
        assert sum((Counter(one + two) - whole).values()) <= 1
