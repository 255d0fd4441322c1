"""The quick config of every loss takes a step and finds detections."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

QUICK = Path(__file__).parents[2] / 'configs/quick'
LOSSES = dict(
    fedloss='FederatedLoss',
    balanced_softmax='BalancedSoftmaxLoss',
    class_weights='ClassWeightedLoss',
    seesaw='SyncSeesawLoss')


def read(name):
    init_default_scope('mmdet')
    return Config.fromfile(QUICK / f'{name}_tiny_lvis.py')


@pytest.mark.parametrize('name', LOSSES)
def test_quick_config_trains_and_tests(name, tiny_root, monkeypatch):
    monkeypatch.chdir(tiny_root)
    cfg = read(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    head = model.roi_head.bbox_head
    assert type(head.loss_cls).__name__ == LOSSES[name]
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    before = head.fc_cls.weight.detach().clone()
    log = model.train().train_step(
        pseudo_collate([dataset[i] for i in range(2)]),
        build_optim_wrapper(model, cfg.optim_wrapper))
    assert all(torch.isfinite(value) for value in log.values())
    assert sum(v.item() for k, v in log.items() if 'loss_cls' in k) > 0
    assert (head.fc_cls.weight != before).any()
    testset = DATASETS.build(cfg.val_dataloader.dataset)
    result, = model.eval().test_step(pseudo_collate([testset[0]]))
    scores = result.pred_instances.scores
    assert len(scores) and ((0 <= scores) & (scores <= 1)).all()


@pytest.mark.parametrize('name', [n for n in LOSSES if n != 'seesaw'])
def test_the_source_may_be_left_to_the_data(name, tiny_root, tmp_path,
                                            monkeypatch):
    monkeypatch.chdir(tiny_root)
    init_default_scope('mmdet')
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{QUICK / name}_tiny_lvis.py'\n"
                    'model = dict(roi_head=dict(bbox_head=dict('
                    'num_classes=None, loss_cls=dict(frequency_source=None)),'
                    'mask_head=dict(num_classes=None)))\n')
    head = MODELS.build(Config.fromfile(path).model).roi_head.bbox_head
    assert head.num_classes == len(head.loss_cls.classes) == 60
    assert head.loss_cls.source.endswith('tiny_lvis_train.json')


def test_seesaw_counts_the_categories_that_the_data_have(
        tiny_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_root)
    init_default_scope('mmdet')
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{QUICK}/seesaw_tiny_lvis.py'\n"
                    'model = dict(roi_head=dict('
                    'bbox_head=dict(num_classes=None), '
                    'mask_head=dict(num_classes=None)))\n')
    head = MODELS.build(Config.fromfile(path).model).roi_head.bbox_head
    assert head.loss_cls.cum_samples.shape == (61, )
