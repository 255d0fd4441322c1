"""The detector of a config: what is loaded, what is refused."""
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmengine.config import Config

from eql_mmdet.retraining.detector import (build_dataset, build_detector,
                                           build_sampler, feature_settings,
                                           load_detector, read_config,
                                           with_boxes)

ROOT = Path(__file__).parents[2]
QUICK = ROOT / 'configs/quick'
EQL = str(QUICK / 'eql_tiny_lvis.py')
SOFTMAX = str(QUICK / 'baseline_tiny_lvis.py')
HEAD = 'roi_head.bbox_head'


@pytest.fixture(autouse=True)
def in_root(tiny_root, monkeypatch):
    monkeypatch.chdir(tiny_root)


def detector(config, **options):
    cfg = read_config(config, options)
    dataset = build_dataset(cfg)
    return build_detector(cfg, dataset), dataset.metainfo['classes']


def edited(softmax_file, path, edit):
    checkpoint = torch.load(softmax_file)
    edit(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def test_all_but_the_classifier_is_loaded(softmax_file):
    model, classes = detector(EQL)
    before = model.roi_head.bbox_head.fc_cls.weight.clone()
    left = load_detector(model, str(softmax_file), classes)
    assert left == [
        f'{HEAD}.fc_cls.weight (61, 256)', f'{HEAD}.fc_cls.bias (61,)'
    ]
    state = torch.load(softmax_file)['state_dict']
    for name, value in model.state_dict().items():
        if name.startswith(f'{HEAD}.fc_cls'):
            assert value.shape[0] == 60
        else:
            assert torch.equal(value, state[name]), name
    assert torch.equal(model.roi_head.bbox_head.fc_cls.weight, before)


def test_what_a_loss_remembers_starts_anew(softmax_file, tmp_path):

    def edit(checkpoint):
        checkpoint['state_dict'][f'{HEAD}.loss_cls.gradients'] = torch.ones(60)

    model, classes = detector(EQL)
    path = edited(softmax_file, tmp_path / 'a.pth', edit)
    assert f'{HEAD}.loss_cls.gradients (60,)' in load_detector(
        model, path, classes)


def test_names_of_a_wrapped_model_are_understood(softmax_file, tmp_path):

    def edit(checkpoint):
        checkpoint['state_dict'] = {
            f'module.{k}': v
            for k, v in checkpoint['state_dict'].items()
        }

    model, classes = detector(SOFTMAX)
    load_detector(model, edited(softmax_file, tmp_path / 'a.pth', edit),
                  classes)
    state = torch.load(softmax_file)['state_dict']
    assert torch.equal(model.state_dict()[f'{HEAD}.fc_reg.weight'],
                       state[f'{HEAD}.fc_reg.weight'])


def drop(checkpoint):
    del checkpoint['state_dict']['neck.fpn_convs.0.conv.weight']


def add(checkpoint):
    checkpoint['state_dict']['roi_head.extra'] = torch.ones(2)


def resize(checkpoint):
    checkpoint['state_dict'][f'{HEAD}.fc_reg.bias'] = torch.ones(240)


def rename(checkpoint):
    classes = list(checkpoint['meta']['dataset_meta']['classes'])
    checkpoint['meta']['dataset_meta']['classes'] = classes[::-1]


@pytest.mark.parametrize('edit, message', [
    (drop, r'neck.fpn_convs.0.conv.weight is \(48, .* missing in the check'),
    (add, r'roi_head.extra is missing in the model and \(2,\)'),
    (resize, r'fc_reg.bias is \(4,\) in the model and \(240,\)'),
    (rename, 'was trained on 60 classes .* same order'),
])
def test_anything_else_that_differs_is_refused(softmax_file, tmp_path, edit,
                                               message):
    model, classes = detector(SOFTMAX)
    path = edited(softmax_file, tmp_path / 'a.pth', edit)
    with pytest.raises(ValueError, match=message):
        load_detector(model, path, classes)


def test_images_come_as_in_testing_and_boxes_follow_them():
    options = {
        'test_dataloader.dataset.pipeline.1.scale': (64, 64),
        'train_dataloader.dataset.pipeline.2.scale': (96, 96)
    }
    dataset = build_dataset(read_config(SOFTMAX, options))
    for index in range(3):
        packed = dataset[index]
        assert max(packed['inputs'].shape[1:]) == 64
        info = dataset.get_data_info(index)
        scale = 64 / max(info['width'], info['height'])
        boxes = torch.tensor([i['bbox'] for i in info['instances']]) * scale
        found = packed['data_samples'].gt_instances.bboxes.tensor
        torch.testing.assert_close(found, boxes.float(), rtol=0, atol=0.5)
        assert not packed['data_samples'].get('flip', False)


def test_boxes_are_loaded_before_they_are_resized():
    names = ('LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackDetInputs')
    found = with_boxes([dict(type=name, with_mask=True) for name in names])
    assert [t['type'] for t in found] == [
        'LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs'
    ]
    assert found[1] == dict(type='LoadAnnotations', with_bbox=True)


@pytest.mark.parametrize('pipeline', [[], [dict(type='Resize')]])
def test_another_pipeline_is_refused(pipeline):
    with pytest.raises(ValueError, match='begins with loading an image'):
        with_boxes(pipeline)


@pytest.mark.parametrize('base, lines, message', [
    ('baseline', '''
dataset = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(
    _delete_=True, type='ClassBalancedDataset', oversample_thr=1e-3,
    dataset=dataset))''', 'not wrapped .* got ClassBalancedDataset'),
    ('eql', '''
model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(
    keep_verified=True))))''', 'got keep_verified=True'),
    ('baseline', '''
model = dict(train_cfg=dict(rcnn=dict(sampler=dict(
    type='OHEMSampler'))))''', 'does not ask the classifier, but got OHEM'),
    ('baseline', '''
model = dict(train_cfg=dict(rcnn=[_base_.model.train_cfg.rcnn] * 3))''',
     'one R-CNN, but got MaskRCNN .*; cascades'),
])
def test_what_cannot_be_retrained_is_refused(tmp_path, base, lines, message):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{QUICK}/{base}_tiny_lvis.py'\n{lines}\n")
    with pytest.raises(ValueError, match=message):
        detector(str(path))


def test_a_head_without_fc_layers_is_refused(monkeypatch):
    from eql_mmdet.retraining import detector as module
    model, _ = detector(SOFTMAX)
    model.roi_head.bbox_head = BBoxHead(in_channels=48, num_classes=60)
    with pytest.raises(ValueError, match='ConvFCBBoxHead.* with BBoxHead'):
        module.check_supported(model)


def test_classes_of_model_and_data_are_held_together():
    with pytest.raises(ValueError, match='num_classes'):
        detector(SOFTMAX, **{'model.roi_head.bbox_head.num_classes': 50})


@pytest.mark.parametrize('name', ['baseline', 'rfs', 'cas'])
def test_the_sampler_is_that_of_the_config(name):
    cfg = read_config(str(QUICK / f'{name}_tiny_lvis.py'))
    dataset = build_dataset(cfg)
    drawn = [list(build_sampler(cfg, dataset, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    kind = type(build_sampler(cfg, dataset, 0)).__name__
    assert kind == cfg.train_dataloader.sampler.type


def settings(config, softmax_file, rois_per_image=None, **options):
    cfg = read_config(
        str(QUICK / f'{config}_tiny_lvis.py'), options, rois_per_image)
    return feature_settings(cfg, str(softmax_file))


def test_features_do_not_depend_on_loss_and_sampler(softmax_file):
    first = settings('baseline', softmax_file)
    assert first == settings('eql', softmax_file)
    assert first == settings('rfs', softmax_file)


@pytest.mark.parametrize('change, name', [
    (dict(rois_per_image=8), 'rois'),
    ({
        'model.train_cfg.rpn_proposal.max_per_img': 50
    }, 'proposals'),
    ({
        'test_dataloader.dataset.pipeline.1.scale': (64, 64)
    }, 'dataset'),
    ({
        'model.roi_head.bbox_roi_extractor.finest_scale': 8
    }, 'extractor'),
])
def test_features_depend_on_what_makes_them(softmax_file, change, name):
    known = settings('baseline', softmax_file)
    found = settings('baseline', softmax_file, **change)
    assert [k for k in known if known[k] != found[k]] == [name]


def test_the_config_is_completed_as_in_training():
    cfg = read_config(EQL)
    assert isinstance(cfg, Config)
    assert any(h.type == 'RunCheckHook' for h in cfg.custom_hooks)
