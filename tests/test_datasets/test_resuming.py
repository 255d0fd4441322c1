"""A resumed training is the uninterrupted one, draw for draw."""
import multiprocessing
import random
import time
from collections import Counter

import numpy as np
import pytest
import torch
from lvis_data import make_dataset, write_json
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.runner import Runner, loops

import eql_mmdet  # noqa: F401
from eql_mmdet.datasets import batches as batches_module
from eql_mmdet.datasets.places import SeededBatch, seed_everything
from eql_mmdet.datasets.resumable_config import make_resumable

RFS = dict(type='RepeatFactorSampler', repeat_threshold=0.5)
CAS = dict(type='ClassAwareSampler')
PLAIN = dict(type='DefaultSampler', shuffle=True)
INFINITE = dict(type='InfiniteSampler')
GROUPED = dict(type='AspectRatioBatchSampler')
#: Of 23 images, every third is upright.
IMAGES = [[0], [0, 1], [0, 2]] * 7 + [[3], []]
LOADED = Counter()


@DATASETS.register_module()
class DrawnPictures(torch.utils.data.Dataset):
    """Images whose pipeline draws from all generators of the process."""
    metainfo = dict(classes=('a', 'b', 'c', 'd'))

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        LOADED[index] += 1
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return dict(inputs=torch.tensor([index, *drawn], dtype=torch.float64))

    def get_cat_ids(self, index):
        return IMAGES[index]

    def get_data_info(self, index):
        return dict(width=100, height=80 if index % 3 else 120)


@MODELS.register_module()
class DrawingModel(BaseModel):
    """A model that draws in every step, and remembers all it has seen."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        self.seen = []

    def forward(self, inputs, mode):
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        batch = torch.stack(inputs)
        self.seen.append(batch[:, 0].int().tolist())
        return dict(loss=self.weight * (batch.sum() + drawn))


def by_iter(count, **settings):
    return dict(type='IterBasedTrainLoop', max_iters=count, **settings)


def by_epoch(count):
    return dict(type='EpochBasedTrainLoop', max_epochs=count)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train ``DrawingModel`` as a config of ours would; return the runner."""
    monkeypatch.setattr(time, 'sleep', lambda s: pytest.fail('it waits'))

    def run(sampler, loop, batch_sampler=None, workers=0, seed=5, **settings):
        LOADED.clear()
        runner = Runner.from_cfg(
            Config(
                dict(
                    custom_imports=dict(imports=['eql_mmdet']),
                    default_scope='mmdet',
                    model=dict(type='DrawingModel'),
                    work_dir=str(tmp_path),
                    train_dataloader=dict(
                        batch_size=4,
                        num_workers=workers,
                        dataset=dict(type='DrawnPictures'),
                        sampler=sampler,
                        batch_sampler=batch_sampler,
                        collate_fn=dict(type='pseudo_collate')),
                    train_cfg=loop,
                    optim_wrapper=dict(
                        optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
                    randomness=dict(seed=seed),
                    log_level='ERROR',
                    experiment_name=f'run{time.monotonic_ns()}',
                    **settings)))
        runner.train()
        return runner

    return run


def saving(by_epoch, interval):
    return dict(
        checkpoint=dict(
            type='CheckpointHook', by_epoch=by_epoch, interval=interval))


BY_ITER = by_iter(20), saving(False, 11), 'iter_11.pth', 11
BY_EPOCH = by_epoch(3), saving(True, 2), 'epoch_2.pth', None


# The host draws a seed where none is named.
@pytest.mark.parametrize('seed, batch_sampler', [(5, None), (None, GROUPED)])
@pytest.mark.parametrize('sampler, loop, hooks, name, steps',
                         [(RFS, *BY_ITER), (RFS, *BY_EPOCH), (CAS, *BY_ITER),
                          (CAS, *BY_EPOCH), (PLAIN, *BY_ITER),
                          (PLAIN, *BY_EPOCH), (INFINITE, *BY_ITER)])
def test_a_resumed_training_ends_with_the_same_weights(train, tmp_path,
                                                       sampler, loop, hooks,
                                                       name, steps,
                                                       batch_sampler, seed):
    whole = train(sampler, loop, batch_sampler, seed=seed, default_hooks=hooks)
    rest = train(
        sampler,
        loop,
        batch_sampler,
        seed=seed,
        load_from=str(tmp_path / name),
        resume=True)
    left = len(rest.model.seen)
    assert 0 < left < len(whole.model.seen)
    assert rest.model.seen == whole.model.seen[-left:]
    assert torch.equal(rest.model.weight, whole.model.weight)
    if steps:  # what lies before the place is not loaded
        assert left == 20 - steps
        assert sum(LOADED.values()) == sum(map(len, rest.model.seen))


@pytest.mark.parametrize('loop', [by_iter(9), by_epoch(2)])
def test_workers_draw_what_one_process_draws(train, loop):
    before = multiprocessing.active_children()
    alone = train(RFS, loop, GROUPED)
    helped = train(RFS, loop, GROUPED, workers=2)
    assert torch.equal(alone.model.weight, helped.model.weight)
    assert set(multiprocessing.active_children()) <= set(before)


@pytest.mark.parametrize('batch_sampler', [None, GROUPED])
@pytest.mark.parametrize('sampler', [RFS, CAS, PLAIN, INFINITE])
def test_the_order_is_that_of_the_hosts_loop(train, monkeypatch, tmp_path,
                                             sampler, batch_sampler):
    seen = train(sampler, by_iter(20), batch_sampler).model.seen
    monkeypatch.undo()
    monkeypatch.setattr(loops.time, 'sleep', lambda s: None)
    runner = Runner(
        DrawingModel(),
        str(tmp_path),
        dict(
            batch_size=4,
            dataset=DrawnPictures(),
            sampler=dict(sampler),
            batch_sampler=batch_sampler,
            collate_fn=dict(type='pseudo_collate')),
        train_cfg=by_iter(20),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=None, logger=None),
        randomness=dict(seed=5),
        default_scope='mmdet',
        experiment_name=f'host{time.monotonic_ns()}')
    assert type(runner.train_loop) is loops.IterBasedTrainLoop
    assert runner.train().seen == seen


def test_a_sampler_keeps_the_seed_that_its_config_names(train, tmp_path):
    named = dict(RFS, seed=99)
    whole = train(named, *BY_ITER[:1], default_hooks=BY_ITER[1])
    other = train(RFS, by_iter(20))
    assert whole.train_dataloader.batch_sampler.sampler.seed == 99
    assert whole.model.seen != other.model.seen
    rest = train(
        named,
        by_iter(20),
        load_from=str(tmp_path / 'iter_11.pth'),
        resume=True)
    assert torch.equal(rest.model.weight, whole.model.weight)


def test_a_finished_training_has_nothing_left(train, tmp_path):
    train(RFS, by_iter(4), default_hooks=saving(False, 4))
    rest = train(
        RFS, by_iter(4), load_from=str(tmp_path / 'iter_4.pth'), resume=True)
    assert rest.model.seen == [] and not LOADED


def test_an_epoch_without_batches_is_refused(train):
    with pytest.raises(ValueError, match='batches of 4 images.*none'):
        train(dict(type='DefaultSampler'), by_iter(4), NOTHING)


NOTHING = dict(type='AspectRatioBatchSampler', drop_last=True, batch_size=4)


@pytest.fixture(autouse=True)
def few_images(request, monkeypatch):
    if 'refused' in request.node.name:
        monkeypatch.setattr(DrawnPictures, '__len__', lambda self: 3)


def test_the_loop_asks_for_its_batch_sampler(tmp_path):
    with pytest.raises(TypeError, match='ResumableBatchSampler.*BatchSampler'):
        Runner(
            DrawingModel(),
            str(tmp_path),
            dict(
                batch_size=4, dataset=DrawnPictures(), sampler=dict(INFINITE)),
            train_cfg=dict(type='mmdet.ResumableIterTrainLoop', max_iters=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            experiment_name=f'wrong{time.monotonic_ns()}').train()


def draw(*place):
    seed_everything(*place)
    return (random.random(), np.random.rand(),
            torch.rand((), dtype=torch.float64).item())


def test_a_place_has_its_numbers_whatever_was_drawn_before():
    first = draw(5, 1, 0, 2)
    random.random(), np.random.rand(7), torch.rand(7)
    assert draw(5, 1, 0, 2) == first


def test_places_have_numbers_of_their_own():
    places = [(s, k, r, n) for s in (0, 1, 2**40) for k in (0, 1)
              for r in range(3) for n in range(40)]
    for numbers in zip(*(draw(*place) for place in places)):
        assert len(set(numbers)) == len(places)
        # Uniform: the mean of n numbers is off by 1 / sqrt(12 n).
        assert abs(np.mean(numbers) - 0.5) < 4 / (12 * len(places))**0.5


def test_every_image_of_a_batch_is_seeded_when_it_is_read():
    batch = SeededBatch([7, 7, 3], (5, 1))
    first = [(i, random.random()) for i in batch]
    assert [i for i, _ in first] == [7, 7, 3] and len(batch) == 3
    assert len({drawn for _, drawn in first}) == 3
    random.random()
    assert [(i, random.random()) for i in batch] == first


def test_ranks_load_with_numbers_of_their_own(monkeypatch):
    sampler = batches_module.ResumableBatchSampler(list(range(8)), 4)
    sampler.seed = 5
    places = set()
    for rank in range(2):
        monkeypatch.setattr(batches_module, 'get_rank', lambda: rank)
        places |= {batch.place for batch in sampler}
    assert len(places) == 4


def test_without_a_seed_batches_are_plain_lists():
    sampler = batches_module.ResumableBatchSampler(list(range(6)), 4)
    assert list(sampler) == [[0, 1, 2, 3], [4, 5]] and len(sampler) == 2
    dropping = batches_module.ResumableBatchSampler(
        list(range(6)), 4, drop_last=True)
    assert list(dropping) == [[0, 1, 2, 3]]


@pytest.fixture
def sized(tmp_path):
    """A data set of ours whose images are upright or wide, at random."""
    content = make_dataset(np.random.default_rng(3), images=50, categories=3)
    sides = np.random.default_rng(0).integers(30, 99, (50, 2)).tolist()
    for image, (width, height) in zip(content['images'], sides):
        image.update(width=width, height=height)
    return DATASETS.build(
        dict(
            type='LVISFormatDataset',
            ann_file=write_json(tmp_path / 'train.json', content),
            data_prefix=dict(img=''),
            test_mode=True,
            pipeline=[]))


class InOrder(torch.utils.data.Sampler):
    """All images in their order, and the data set, as the host asks."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(range(len(self.dataset)))

    def __len__(self):
        return len(self.dataset)


def test_grouping_asks_for_shapes_and_never_for_a_whole_record(
        sized, monkeypatch):
    whole = list(AspectRatioBatchSampler(InOrder(sized), 4))
    monkeypatch.setattr(
        type(sized), 'get_data_info',
        lambda self, i: pytest.fail('a record is made'))
    ours = batches_module.ResumableBatchSampler(InOrder(sized), 4, GROUPED)
    assert list(ours) == whole and len(ours) == len(whole) == 13


def completed(**cfg):
    cfg = ConfigDict(cfg)
    make_resumable(cfg)
    return cfg


@pytest.mark.parametrize('loop', [
    dict(type='IterBasedTrainLoop', max_iters=3),
    dict(type='mmengine.IterBasedTrainLoop', max_iters=3),
    dict(type=loops.IterBasedTrainLoop, max_iters=3),
    dict(by_epoch=False, max_iters=3),
    dict(type='ResumableIterTrainLoop', max_iters=3),
])
def test_iteration_loops_become_resumable(loop):
    cfg = completed(train_dataloader=dict(batch_size=2), train_cfg=loop)
    assert cfg.train_cfg == dict(type='ResumableIterTrainLoop', max_iters=3)


@pytest.mark.parametrize('loop', [
    dict(type='EpochBasedTrainLoop', max_epochs=3),
    dict(by_epoch=True, max_epochs=3),
    dict(type='SomebodysLoop', max_iters=3),
])
def test_other_loops_stay(loop):
    cfg = completed(train_dataloader=dict(batch_size=2), train_cfg=loop)
    assert cfg.train_cfg == loop


def test_batch_samplers_are_wrapped_once():
    loader = dict(batch_size=2, batch_sampler=GROUPED)
    cfg = completed(train_dataloader=loader, train_cfg=by_epoch(1))
    expected = dict(type='ResumableBatchSampler', batches=GROUPED)
    assert cfg.train_dataloader.batch_sampler == expected
    make_resumable(cfg)
    assert cfg.train_dataloader.batch_sampler == expected
    assert [h.type for h in cfg.custom_hooks] == ['RunCheckHook', 'ResumeHook']


def test_dropping_the_last_batch_moves_to_the_batch_sampler():
    loader = dict(batch_size=2, drop_last=True)
    cfg = completed(train_dataloader=loader, train_cfg=by_epoch(1))
    assert cfg.train_dataloader == dict(
        batch_size=2,
        batch_sampler=dict(type='ResumableBatchSampler', drop_last=True))


def test_loaders_that_are_built_and_runs_that_test_stay():
    loader = torch.utils.data.DataLoader([1, 2])
    cfg = completed(train_dataloader=loader, train_cfg=by_iter(3))
    assert cfg.train_dataloader is loader and cfg.train_cfg == by_iter(3)
    assert 'train_cfg' not in completed(test_cfg=dict())
