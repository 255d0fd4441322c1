"""Heads that the losses are not for say so in one sentence."""
import pytest
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from eql_mmdet.datasets.class_config import complete_config

K = 6
PLACE = 'box heads of two-stage detectors .*one-stage detectors and DETR need'


@pytest.fixture
def loss_cls(tmp_path):
    path = tmp_path / 'counts.csv'
    rows = [f'{i},c{i},f,{10 * i + 1},{10 * i + 1}' for i in range(K)]
    path.write_text('\n'.join([
        '# num_images: 100', 'id,name,frequency,image_count,instance_count',
        *rows, ''
    ]))
    return dict(
        type='EqualizationLoss',
        frequency_source=str(path),
        frequency_threshold=0.15)


def build(name, loss_cls):
    init_default_scope('mmdet')
    cfg = get_config(f'mmdet::{name}.py').model
    cfg.backbone.update(depth=18, init_cfg=None)
    cfg.backbone.pop('style', None)
    if name.startswith('detr'):
        cfg.backbone.depth = 50
    else:
        cfg.neck.in_channels = [64, 128, 256, 512]
    cfg.bbox_head.pop('loss_cls')
    cfg.bbox_head.update(num_classes=K, loss_cls=loss_cls)
    return MODELS.build(cfg)


@pytest.mark.parametrize('name', [
    'retinanet/retinanet_r50_fpn_1x_coco',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco'
])
def test_a_one_stage_detector_cannot_be_trained(name, loss_cls):
    model = build(name, loss_cls).train()
    data = demo_mm_inputs(1, [[3, 64, 64]], num_classes=K)
    with pytest.raises(ValueError, match=rf'\(R, {K}\).*, {K + 1}\).*{PLACE}'):
        model(**model.data_preprocessor(data, True), mode='loss')


@pytest.mark.parametrize('loss', [
    dict(),
    dict(type='SoftmaxEqualizationLoss', gamma=0.9),
])
def test_detr_is_not_built(loss, loss_cls):
    loss_cls.update(loss)
    with pytest.raises(AttributeError, match=f'{loss_cls["type"]}.*{PLACE}'):
        build('detr/detr_r50_8xb2-150e_coco', loss_cls)


@pytest.mark.parametrize('name, head', [
    ('retinanet/retinanet_r50_fpn_1x_coco', 'bbox_head'),
    ('detr/detr_r50_8xb2-150e_coco', 'bbox_head'),
    ('mask2former/mask2former_r50_8xb2-lsj-50e_coco', 'panoptic_head'),
])
def test_the_config_of_a_run_is_refused_before_a_model_is_built(
        name, head, loss_cls):
    cfg = get_config(f'mmdet::{name}.py')
    cfg.custom_imports = dict(imports=['eql_mmdet'])
    cfg.model[head].loss_cls = loss_cls
    place = rf'model\.{head}\.loss_cls is EqualizationLoss, .*{PLACE}'
    with pytest.raises(ValueError, match=place):
        complete_config(cfg)
    cfg.model = dict(detector=dict(neck=[cfg.model]))
    with pytest.raises(ValueError, match=place.replace('model', 'neck', 1)):
        complete_config(cfg)
    cfg.model = dict(
        detector=dict(roi_head=dict(bbox_head=[dict(loss_cls=loss_cls)])))
    complete_config(cfg)


def test_other_missing_attributes_are_named_as_ever(loss_cls):
    init_default_scope('mmdet')
    loss = MODELS.build(loss_cls)
    assert not hasattr(loss, 'use_sigmoid')
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        loss.nowhere
    assert loss.tail_mask.sum() == 2
