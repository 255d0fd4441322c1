"""Constants, learning rate and sampling of the LVIS recipe.

The right-hand sides are written down from detectron2's defaults of early
2020 and the authors' project, not taken from this repository.
"""
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import InstanceData


@pytest.mark.parametrize(
    'path, value',
    [
        ('model.backbone.frozen_stages', 1),
        ('model.backbone.depth', 50),
        ('model.backbone.style', 'caffe'),
        ('model.data_preprocessor.pad_size_divisor', 32),
        ('model.neck.num_outs', 5),
        ('model.train_cfg.rpn.assigner.pos_iou_thr', 0.7),
        ('model.train_cfg.rpn.assigner.neg_iou_thr', 0.3),
        ('model.train_cfg.rpn.assigner.match_low_quality', True),
        ('model.train_cfg.rpn.sampler.num', 256),
        ('model.train_cfg.rpn.sampler.pos_fraction', 0.5),
        ('model.train_cfg.rpn.allowed_border', -1),
        ('model.train_cfg.rpn_proposal.nms_pre', 2000),
        ('model.train_cfg.rpn_proposal.max_per_img', 1000),
        ('model.train_cfg.rpn_proposal.nms.iou_threshold', 0.7),
        ('model.train_cfg.rpn_proposal.min_bbox_size', 0),
        ('model.test_cfg.rpn.nms_pre', 1000),
        ('model.test_cfg.rpn.max_per_img', 1000),
        ('model.test_cfg.rpn.nms.iou_threshold', 0.7),
        ('model.test_cfg.rpn.min_bbox_size', 0),
        ('model.train_cfg.rcnn.assigner.pos_iou_thr', 0.5),
        ('model.train_cfg.rcnn.assigner.neg_iou_thr', 0.5),
        ('model.train_cfg.rcnn.assigner.match_low_quality', False),
        ('model.train_cfg.rcnn.sampler.num', 512),
        ('model.train_cfg.rcnn.sampler.pos_fraction', 0.25),
        ('model.train_cfg.rcnn.sampler.add_gt_as_proposals', True),
        ('model.train_cfg.rcnn.mask_size', 28),
        ('model.roi_head.bbox_head.fc_out_channels', 1024),
        ('model.roi_head.bbox_head.reg_class_agnostic', False),
        ('model.roi_head.mask_head.num_convs', 4),
        ('model.test_cfg.rcnn.score_thr', 1e-4),
        ('model.test_cfg.rcnn.nms.iou_threshold', 0.5),
        ('model.test_cfg.rcnn.max_per_img', 300),
        ('model.test_cfg.rcnn.mask_thr_binary', 0.5),
        ('optim_wrapper.type', 'OptimWrapper'),  # no AMP, no clipping
        ('train_cfg.max_iters', 90000),
        ('default_hooks.checkpoint.interval', 5000),
        ('env_cfg.cudnn_benchmark', False),
    ])
def test_constant_is_the_released_one(path, value, cfg):
    node = cfg
    for key in path.split('.'):
        node = node[key]
    assert node == value


@pytest.fixture(scope='module')
def learning_rates(load_config):
    cfg = load_config()
    parameter = torch.nn.Parameter(torch.zeros(1))
    options = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, options.pop('type'))([parameter],
                                                          **options)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer))
        for s in cfg.param_scheduler
    ]
    rates = []
    for _ in range(cfg.train_cfg.max_iters):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    'iteration',
    [0, 1, 2, 500, 998, 999, 1000, 1001, 59999, 60000, 79999, 80000, 89999])
def test_learning_rate_is_that_of_warmup_multi_step_lr(learning_rates,
                                                       iteration):
    alpha = min(iteration / 1000, 1)
    warmup = 0.001 * (1 - alpha) + alpha
    drops = sum(iteration >= step for step in (60000, 80000))
    assert learning_rates[iteration] == pytest.approx(
        0.02 * warmup * 0.1**drops, rel=1e-9)


def assign_and_sample(settings, boxes, gt):
    assigner = TASK_UTILS.build(settings.assigner)
    sampler = TASK_UTILS.build(settings.sampler)
    gt = InstanceData(bboxes=torch.tensor(gt), labels=torch.arange(len(gt)))
    priors = InstanceData(priors=torch.tensor(boxes))
    return sampler.sample(assigner.assign(priors, gt), priors, gt)


def test_rois_below_half_overlap_are_background_and_objects_are_added(cfg):
    result = assign_and_sample(cfg.model.train_cfg.rcnn,
                               [[0., 0., 10., 4.9], [0., 0., 10., 5.]],
                               [[0., 0., 10., 10.]])
    assert result.neg_priors.tolist() == [[0., 0., 10., pytest.approx(4.9)]]
    assert sorted(result.pos_priors.tolist()) == [[0., 0., 10., 5.],
                                                  [0., 0., 10., 10.]]


@pytest.mark.parametrize('part, total, positive', [('rcnn', 512, 128),
                                                   ('rpn', 256, 128)])
def test_samples_are_as_many_as_released(part, total, positive, cfg):
    boxes = [[0., 0., 10., 10.]] * 600 + [[50., 50., 60., 60.]] * 600
    result = assign_and_sample(cfg.model.train_cfg[part], boxes,
                               [[0., 0., 10., 10.]])
    assert len(result.pos_priors) == positive
    assert len(result.pos_priors) + len(result.neg_priors) == total
