"""Every config parses, builds, names its sampler and hides none."""
import ast
import json
import shutil
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(p for p in ROOT.rglob('*.py') if p.parent.name != '_base_')
FULL_SIZE = [p for p in CONFIGS if 'quick' not in p.parts]
LVIS = [p for p in CONFIGS if p.stem.endswith('_lvis') and p.parent == ROOT]
LOSSES = dict(
    baseline='CrossEntropyLoss',
    eql='EqualizationLoss',
    eqlv2='EqualizationLossV2',
    seql='SoftmaxEqualizationLoss',
    sigmoid='EqualizationLoss')
#: Outputs beside those of the categories; by default one, for background.
MORE_CHANNELS = dict(EqualizationLoss=0, FederatedLoss=0, SyncSeesawLoss=2)
SAMPLERS = dict(cas='ClassAwareSampler', rfs='RepeatFactorSampler')


@lru_cache(maxsize=None)
def parse(path):
    """A config; parsed once, so a test that changes it takes a copy."""
    return Config.fromfile(path)


def chain(path):
    """A config and those of its bases that are ours."""
    line, = (
        line for line in path.read_text().splitlines()
        if line.startswith('_base_ ='))
    base = line.split("'")[1]
    if base.startswith('mmdet::'):
        return [path]
    return [path, *chain((path.parent / base).resolve())]


def names_a_sampler(path):
    """Whether the file itself has train_dataloader=dict(sampler=...)."""
    return any(keyword.arg == 'sampler'
               for node in ast.parse(path.read_text()).body
               if isinstance(node, ast.Assign)
               and node.targets[0].id == 'train_dataloader'
               for keyword in node.value.keywords)


@pytest.fixture(scope='module')
def long_tail(tmp_path_factory):
    """As many categories as in the long-tail experiment, fewer images."""
    folder = tmp_path_factory.mktemp('long_tail')
    make_tiny_lvis(
        folder,
        num_categories=120,
        num_train=120,
        num_val=24,
        image_size=64,
        seed=0)
    return folder


@pytest.fixture
def data_dir(tiny_root, long_tail, tmp_path, monkeypatch):
    """A working folder in which the data of every config lie."""
    shutil.copytree(tiny_root / 'data', tmp_path / 'data')
    (tmp_path / 'data/long_tail').symlink_to(long_tail)
    coco = tmp_path / 'data/custom/annotations'
    coco.mkdir(parents=True)
    text = (tiny_root /
            'data/tiny_lvis/annotations/tiny_lvis_train.json').read_text()
    categories = [
        dict(id=i, name=f'class {i}', frequency='c') for i in range(80)
    ]
    annotations = [
        dict(
            id=100 * i + j,
            image_id=j,
            category_id=i,
            bbox=[1, 1, 5, 5],
            segmentation=[[1, 1, 6, 1, 6, 6]]) for i in range(80)
        for j in range(i + 1)
    ]
    for split in ('train', 'val'):
        (coco / f'{split}.json').write_text(
            json.dumps(
                dict(
                    categories=categories,
                    images=[
                        dict(
                            id=i,
                            height=9,
                            width=9,
                            neg_category_ids=[],
                            not_exhaustive_category_ids=[]) for i in range(80)
                    ],
                    annotations=annotations)))
    for name in ('lvis_v0.5', 'lvis_v1'):
        lvis = tmp_path / 'data' / name / 'annotations'
        lvis.mkdir(parents=True)
        (lvis / f'{name}_val.json').write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'path', [
        pytest.param(p, marks=pytest.mark.slow)
        if p.parent.name == 'ablations' or 'r101' in p.stem else p
        for p in CONFIGS
    ],
    ids=lambda p: p.stem)
def test_config_builds(path, data_dir):
    cfg = deepcopy(parse(path))
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    head = model.roi_head.bbox_head
    classes = head.num_classes
    assert model.roi_head.mask_head.num_classes == classes
    loss = type(head.loss_cls).__name__
    more = MORE_CHANNELS.get(loss, 1)
    assert head.fc_cls.out_features == classes + more
    METRICS.build(cfg.test_evaluator)
    if 'quick' in path.parts:
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        sampler = DATA_SAMPLERS.build(
            cfg.train_dataloader.sampler,
            default_args=dict(dataset=dataset, seed=0))
        assert len(sampler) >= len(dataset) > 0
        assert len(dataset.metainfo['classes']) == classes


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_config_names_its_sampler_and_hides_none(path):
    # An ablation of something else has the sampler of what it changes.
    files = chain(path) if path.parent.name == 'ablations' else [path]
    assert any(
        names_a_sampler(file) for file in files
        if file.parent.name != '_base_')
    cfg = parse(path)
    assert 'ClassBalancedDataset' not in str(cfg.to_dict())
    assert cfg.custom_imports.imports == ['eql_mmdet']


@pytest.mark.parametrize('path', FULL_SIZE, ids=lambda p: p.stem)
def test_config_is_what_its_name_says(path):
    cfg = parse(path)
    method, *words = path.stem.split('_')
    assert cfg.model.roi_head.bbox_head.loss_cls.type == LOSSES[method]
    # The iteration loop of the released code knows no epochs.
    iterations = cfg.train_cfg.get('type') == 'IterBasedTrainLoop'
    plain = 'InfiniteSampler' if iterations else 'DefaultSampler'
    sampler = [SAMPLERS[word] for word in words if word in SAMPLERS]
    assert [cfg.train_dataloader.sampler.type] == (sampler or [plain])


@pytest.mark.parametrize('path', FULL_SIZE, ids=lambda p: p.stem)
def test_backbone_is_the_one_in_the_name(path):
    backbone = parse(path).model.backbone
    assert f'_r{backbone.depth}_' in path.name
    assert f'resnet{backbone.depth}' in backbone.init_cfg.checkpoint


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_at_most_two_levels_of_bases_are_ours(path):
    # What a family of experiments shares, in _base_, is one level.
    shared = [p for p in chain(path) if p.parent.name == '_base_']
    experiments = len(chain(path)) - 1 - len(shared)
    assert experiments + bool(shared) <= 2
    assert len(shared) <= 2


@pytest.mark.parametrize('path', LVIS, ids=lambda p: p.stem)
def test_lvis_config_follows_the_released_recipe(path):
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum,
            optimizer.weight_decay) == ('SGD', 0.02, 0.9, 1e-4)
    head, test = cfg.model.roi_head.bbox_head, cfg.model.test_cfg.rcnn
    assert head.num_classes == 1230
    assert (test.score_thr, test.max_per_img) == (1e-4, 300)
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.dataset.type == 'LVISFormatDataset'
    assert cfg.train_cfg.max_iters == 90000
    if head.loss_cls.type == 'EqualizationLoss' and 'eql' in path.name:
        assert head.loss_cls.frequency_threshold == 1.77e-3
    if 'rfs' in path.name:
        assert cfg.train_dataloader.sampler.repeat_threshold == 5e-4


def test_eql_v2_follows_the_released_recipe():
    cfg = Config.fromfile(ROOT / 'eqlv2_r50_fpn_1x_lvis_v1.py')
    optimizer, test = cfg.optim_wrapper.optimizer, cfg.model.test_cfg.rcnn
    assert cfg.optim_wrapper.type == 'OptimWrapper'  # float32
    assert (optimizer.type, optimizer.lr, optimizer.momentum,
            optimizer.weight_decay) == ('SGD', 0.02, 0.9, 1e-4)
    warmup, steps = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end) == (0.001, 500)
    assert steps.milestones == [8, 11] and cfg.train_cfg.max_epochs == 12
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'
    resize, = (
        t for t in cfg.train_dataloader.dataset.pipeline if 'Resize' in t.type)
    assert [s for _, s in resize.scales] == [640, 672, 704, 736, 768, 800]
    assert (test.score_thr, test.max_per_img) == (1e-4, 300)
    assert test.nms == dict(type='nms', iou_threshold=0.5)
    assert cfg.model.roi_head.bbox_head.num_classes == 1203


def test_caffe_normalisation_is_bgr_minus_the_mean():
    cfg = Config.fromfile(ROOT / 'baseline_r50_fpn_1x_lvis.py')
    init_default_scope('mmdet')
    processor = MODELS.build(cfg.model.data_preprocessor)
    image = torch.tensor([10., 20., 30.])[:, None, None].expand(3, 32, 32)
    batch = processor(dict(inputs=[image.byte()], data_samples=None))
    np.testing.assert_allclose(
        batch['inputs'][0, :, 0, 0],
        np.array([10., 20., 30.]) - [103.53, 116.28, 123.675],
        rtol=1e-5)
