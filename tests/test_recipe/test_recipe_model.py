"""The model of the LVIS recipe against detectron2's, layer by layer."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper

K = 1230


def test_one_group_trains_everything_behind_the_first_stage(model, cfg):
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
