"""The LVIS recipe against the released code: constants, model, losses.

The right-hand sides are written down from detectron2's defaults of early
2020 and the authors' project, not taken from this repository.
"""
import functools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.structures import InstanceData

ROOT = Path(__file__).parents[1] / 'configs'
K = 1230


@functools.lru_cache(None)
def load(name='eql_r50_fpn_1x_lvis'):
    return Config.fromfile(ROOT / f'{name}.py')


@pytest.fixture(scope='module', params=['baseline', 'eql'])
def model(request):
    settings = load(f'{request.param}_r50_fpn_1x_lvis').model.copy()
    init_default_scope('mmdet')
    settings.backbone = dict(settings.backbone, init_cfg=None)
    torch.manual_seed(0)
    model = MODELS.build(settings)
    model.init_weights()
    return model.train()


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
def test_constant_is_the_released_one(path, value):
    node = load()
    for key in path.split('.'):
        node = node[key]
    assert node == value


@pytest.fixture(scope='module')
def learning_rates():
    cfg = load()
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


def test_one_group_trains_everything_behind_the_first_stage(model):
    cfg = load()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert wrapper.clip_grad_kwargs is None
    group, = wrapper.optimizer.param_groups
    assert (group['lr'], group['momentum'], group['weight_decay'],
            group['nesterov'], group['dampening']) == (0.02, 0.9, 1e-4, False,
                                                       0)
    trained = {id(p) for p in group['params'] if p.requires_grad}
    frozen = [n for n, p in model.named_parameters() if id(p) not in trained]
    norm = {
        f'{name}.{p}'
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.BatchNorm2d) for p in ('weight', 'bias')
    }
    first = {
        n
        for n, _ in model.named_parameters()
        if n.startswith(('backbone.conv1', 'backbone.layer1'))
    }
    assert set(frozen) == norm | first and len(norm) == 2 * 53


def test_trained_backbone_has_the_convolutions_of_stages_three_to_five(model):
    count, inputs = 0, 256
    for blocks, width in [(4, 128), (6, 256), (3, 512)]:
        for block in range(blocks):
            count += inputs * width + 9 * width**2 + 4 * width**2
            count += inputs * 4 * width if block == 0 else 0
            inputs = 4 * width
    assert sum(p.numel() for p in model.backbone.parameters()
               if p.requires_grad) == count


def test_batch_norm_is_a_constant_affine_map_in_training(model):
    norm = model.backbone.layer2[0].bn1
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    x = torch.randn(2, 128, 3, 3)
    expected = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected)
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, var)


def test_stride_is_in_the_first_convolution_of_a_stage(model):
    block = model.backbone.layer3[0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))


def test_last_level_is_every_second_pixel_of_p5(model):
    sizes = [(256, 16), (512, 8), (1024, 4), (2048, 2)]
    levels = model.neck([torch.randn(1, c, s, s) for c, s in sizes])
    assert len(levels) == 5
    assert torch.equal(levels[4], levels[3][..., ::2, ::2])
    assert sum(
        p.numel()
        for p in model.neck.parameters()) == (256 * (256 + 512 + 1024 + 2048) +
                                              4 * 256 * (9 * 256 + 2))


@pytest.mark.parametrize('name, std, uniform', [
    ('neck.lateral_convs.3.conv', 2048**-0.5, True),
    ('neck.fpn_convs.0.conv', (9 * 256)**-0.5, True),
    ('rpn_head.rpn_conv', 0.01, False),
    ('rpn_head.rpn_cls', 0.01, False),
    ('rpn_head.rpn_reg', 0.01, False),
    ('roi_head.bbox_head.shared_fcs.0', (49 * 256)**-0.5, True),
    ('roi_head.bbox_head.shared_fcs.1', 1024**-0.5, True),
    ('roi_head.bbox_head.fc_cls', 0.01, False),
    ('roi_head.bbox_head.fc_reg', 0.001, False),
    ('roi_head.mask_head.convs.0.conv', (2 / (9 * 256))**0.5, False),
    ('roi_head.mask_head.upsample', (2 / (4 * 256))**0.5, False),
    ('roi_head.mask_head.conv_logits', 0.001, False),
])
def test_layer_starts_as_released(model, name, std, uniform):
    layer = model.get_submodule(name)
    weight = layer.weight.detach()
    few = weight.numel() < 10000
    assert weight.std().item() == pytest.approx(std, rel=0.06 if few else 0.02)
    largest = weight.abs().max().item()
    assert (largest <= std * 3**0.5 * 1.0001) == uniform
    prior = name.endswith('fc_cls') and layer.out_features == K
    bias = -math.log(999) if prior else 0.0
    torch.testing.assert_close(layer.bias, torch.full_like(layer.bias, bias))


def test_anchors_are_centred_on_the_corners_of_the_grid(model):
    sizes = [(8, 11), (4, 6), (2, 3), (1, 2), (1, 1)]
    ours = model.rpn_head.prior_generator.grid_priors(sizes, device='cpu')
    for level, (height, width) in enumerate(sizes):
        size, stride, expected = 32 * 2**level, 4 * 2**level, []
        for y in range(height):
            for x in range(width):
                for ratio in (0.5, 1.0, 2.0):  # height over width
                    w = math.sqrt(size**2 / ratio)
                    h = ratio * w
                    expected.append([
                        x * stride - w / 2, y * stride - h / 2,
                        x * stride + w / 2, y * stride + h / 2
                    ])
        torch.testing.assert_close(
            ours[level], torch.tensor(expected), rtol=1e-6, atol=1e-4)


def random_boxes(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size / 2
    extent = torch.rand(count, 2, generator=generator)**3 * size / 2 + 1
    return torch.cat([corner, corner + extent], 1)


def test_roi_level_is_that_of_the_fpn_paper(model):
    boxes = torch.cat([
        random_boxes(5000, 1333),
        torch.tensor([[0, 0, s, s] for s in (112., 224., 448., 111.9, 223.9)])
    ])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    eps = np.finfo(float).eps
    level = torch.floor(4 + torch.log2(area.sqrt() / 224 + eps)).clamp(2, 5)
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    extractor = model.roi_head.bbox_roi_extractor
    assert set(level.tolist()) == {2, 3, 4, 5}
    assert torch.equal(extractor.map_roi_levels(rois, 4), level.long() - 2)
    assert torch.equal(
        model.roi_head.mask_roi_extractor.map_roi_levels(rois, 4),
        level.long() - 2)


def roi_align(feature, box, scale, size):
    """Average the bilinear samples of each bin; aligned to pixel centres."""
    start, end = (box.view(2, 2) * scale - 0.5)
    bins = (end - start) / size
    points = []
    for axis in range(2):
        count = math.ceil(bins[axis].item())
        steps = (torch.arange(size * count) + 0.5) / count
        points.append((start[axis] + steps * bins[axis], count))
    (x, nx), (y, ny) = points
    height, width = feature.shape[-2:]
    grid = torch.stack(
        torch.broadcast_tensors(((2 * x + 1) / width - 1)[None],
                                ((2 * y + 1) / height - 1)[:, None]), -1)
    samples = F.grid_sample(feature, grid[None], align_corners=False)
    return F.avg_pool2d(samples, (ny, nx))[0]


@pytest.mark.parametrize('name, size', [('bbox', 7), ('mask', 14)])
def test_rois_are_pooled_by_aligned_roi_align(model, name, size):
    extractor = getattr(model.roi_head, f'{name}_roi_extractor')
    feature = torch.randn(1, 4, 40, 40)
    for layer, stride in zip(extractor.roi_layers, (4, 8, 16, 32)):
        boxes = random_boxes(10, 38 * stride) + stride
        rois = torch.cat([torch.zeros(10, 1), boxes], 1)
        expected = [roi_align(feature, b, 1 / stride, size) for b in boxes]
        torch.testing.assert_close(
            layer(feature, rois), torch.stack(expected), rtol=1e-3, atol=1e-3)


def iou(a, b):
    left, right = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = np.prod(np.maximum(right - left, 0))
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def deltas(box, target, weights=(1, 1, 1, 1)):
    size, goal = box[2:] - box[:2], target[2:] - target[:2]
    shift = ((target[:2] + goal / 2) - (box[:2] + size / 2)) / size
    return np.concatenate([shift, np.log(goal / size)]) * weights


def objects_of(boxes):
    return [
        InstanceData(
            bboxes=torch.tensor(b).float(),
            labels=torch.zeros(len(b), dtype=torch.long)) for b in boxes
    ]


def test_rpn_loss_is_divided_by_256_per_image_and_tiny_objects_count(model):
    objects = [
        np.array([[20., 24., 27., 30.]]),
        np.array([[30., 20., 100., 90.], [100., 100., 110., 108.]])
    ]
    sizes = [(32 >> i, 32 >> i) for i in range(5)]
    anchors = torch.cat(
        model.rpn_head.prior_generator.grid_priors(sizes,
                                                   device='cpu')).numpy()
    total, best = 0, []
    for boxes in objects:
        overlaps = np.array([[iou(a, b) for a in anchors] for b in boxes])
        best += overlaps.max(1).tolist()
        positive = (overlaps >= 0.7).any(0)
        positive |= (overlaps == overlaps.max(1, keepdims=True)).any(0)
        for index in np.flatnonzero(positive):
            gt = boxes[overlaps[:, index].argmax()]
            total += np.abs(deltas(anchors[index], gt)).sum()
    assert min(best) < 0.1  # no anchor comes near the smallest object
    losses = model.rpn_head.loss_by_feat(
        [torch.zeros(2, 3, h, w)
         for h, w in sizes], [torch.zeros(2, 12, h, w) for h, w in sizes],
        objects_of(objects),
        [dict(img_shape=(128, 128), pad_shape=(128, 128))] * 2)
    assert sum(losses['loss_rpn_cls']).item() == pytest.approx(math.log(2))
    assert sum(losses['loss_rpn_bbox']).item() == pytest.approx(
        total / (2 * 256), rel=1e-4)


@pytest.fixture
def sampled():
    """Twelve RoIs of two images, one of them of the last category."""
    boxes = random_boxes(12, 200).numpy()
    targets = boxes + np.random.RandomState(0).uniform(-.2, .2, boxes.shape)
    labels = [[0, K - 1, 7], [500, 3]]
    results, start = [], 0
    for image, count in zip(labels, (7, 5)):
        rois, goal = (
            torch.tensor(x[start:start + count]).float()
            for x in (boxes, targets))
        n = len(image)
        results.append(
            SimpleNamespace(
                pos_priors=rois[:n],
                neg_priors=rois[n:],
                pos_gt_bboxes=goal[:n],
                pos_gt_labels=torch.tensor(image)))
        start += count
    return results


def test_box_head_losses_are_sums_over_the_number_of_rois(model, sampled):
    head = model.roi_head.bbox_head
    torch.manual_seed(0)
    logits = torch.randn(12, head.fc_cls.out_features, dtype=torch.float64)
    boxes = torch.randn(12, 4 * K)
    losses = head.loss_and_target(logits.float(), boxes, None, sampled,
                                  model.train_cfg.rcnn)['loss_bbox']
    cls = box = row = 0
    for result in sampled:
        for i in range(len(result.pos_priors) + len(result.neg_priors)):
            foreground = i < len(result.pos_priors)
            label = int(result.pos_gt_labels[i]) if foreground else K
            cls += row_loss(logits[row], label, head)
            if foreground:
                target = deltas(result.pos_priors[i].double().numpy(),
                                result.pos_gt_bboxes[i].double().numpy(),
                                (10, 10, 5, 5))
                prediction = boxes[row, 4 * label:4 * label + 4].numpy()
                box += np.abs(prediction - target).sum()
            row += 1
    assert losses['loss_cls'].item() == pytest.approx(cls / 12, rel=1e-5)
    assert losses['loss_bbox'].item() == pytest.approx(box / 12, rel=1e-4)


def row_loss(logits, label, head):
    if len(logits) == K + 1:
        return -torch.log_softmax(logits, 0)[label].item()
    target = F.one_hot(torch.tensor(label), K + 1)[:K].bool()
    loss = torch.where(target, F.softplus(-logits), F.softplus(logits))
    protected = head.loss_cls.tail_mask.bool() & ~target & (label < K)
    assert protected.sum() in (0, 914, 915)
    return loss[~protected].sum().item()


def test_mask_loss_is_the_mean_over_the_pixels_of_the_right_category(model):
    head = model.roi_head.mask_head
    torch.manual_seed(0)
    logits = torch.randn(5, K, 28, 28)
    target = torch.rand(5, 28, 28).round()
    labels = torch.tensor([0, 3, K - 1, 3, 700])
    total = sum(
        F.softplus(z if t == 0 else -z).item() for i, k in enumerate(labels)
        for z, t in zip(logits[i, k].flatten(), target[i].flatten()))
    loss = head.loss_mask(logits, target, labels)
    assert loss.item() == pytest.approx(total / (5 * 28 * 28), rel=1e-4)


def assign_and_sample(cfg, boxes, gt):
    assigner = TASK_UTILS.build(cfg.assigner)
    sampler = TASK_UTILS.build(cfg.sampler)
    gt = InstanceData(bboxes=torch.tensor(gt), labels=torch.arange(len(gt)))
    priors = InstanceData(priors=torch.tensor(boxes))
    return sampler.sample(assigner.assign(priors, gt), priors, gt)


def test_rois_below_half_overlap_are_background_and_objects_are_added():
    result = assign_and_sample(load().model.train_cfg.rcnn,
                               [[0., 0., 10., 4.9], [0., 0., 10., 5.]],
                               [[0., 0., 10., 10.]])
    assert result.neg_priors.tolist() == [[0., 0., 10., pytest.approx(4.9)]]
    assert sorted(result.pos_priors.tolist()) == [[0., 0., 10., 5.],
                                                  [0., 0., 10., 10.]]


@pytest.mark.parametrize('part, total, positive', [('rcnn', 512, 128),
                                                   ('rpn', 256, 128)])
def test_samples_are_as_many_as_released(part, total, positive):
    boxes = [[0., 0., 10., 10.]] * 600 + [[50., 50., 60., 60.]] * 600
    result = assign_and_sample(load().model.train_cfg[part], boxes,
                               [[0., 0., 10., 10.]])
    assert len(result.pos_priors) == positive
    assert len(result.pos_priors) + len(result.neg_priors) == total


@pytest.mark.parametrize('delta, factor', [(9., 62.5), (1., math.e),
                                           (-9., 1 / 62.5)])
def test_sizes_are_clamped_on_both_sides(model, delta, factor):
    """A documented difference: released code clamps from above only."""
    box = model.roi_head.bbox_head.bbox_coder.decode(
        torch.tensor([[100., 100., 200., 200.]]),
        torch.tensor([[0., 0., delta * 5, delta * 5]]))
    torch.testing.assert_close(
        box[0, 2:] - box[0, :2],
        torch.full((2, ), 100 * factor),
        rtol=1e-3,
        atol=1e-3)
