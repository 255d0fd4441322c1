"""Mask R-CNN as detectron2 names, lays out and computes it, in plain torch.

Written from detectron2's description of itself and independent of the
package: the oracle of its checkpoint conversion.
"""
import math

import torch
from torch.nn import functional as F

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
RPN = 'proposal_generator.rpn_head'
WIDTHS = dict(stem=8, width=4, fpn=8, fc=16, mask=6)
FULL = dict(stem=64, width=64, fpn=256, fc=1024, mask=256)


def model_shapes(depth=50, scores=60, boxes=60, masks=60, **widths):
    """Name -> shape of every parameter of a model."""
    stem, width, fpn, fc, mask = {**WIDTHS, **widths}.values()
    shapes = {}

    def layer(name, *shape, norm=False):
        shapes[f'{name}.weight'] = shape
        if not norm:
            shapes[f'{name}.bias'] = shape[:1]
        else:
            for part in ('weight', 'bias', 'running_mean', 'running_var'):
                shapes[f'{name}.norm.{part}'] = shape[:1]

    res = 'backbone.bottom_up.'
    layer(f'{res}stem.conv1', stem, 3, 7, 7, norm=True)
    channels = stem
    for stage, blocks in enumerate(BLOCKS[depth]):
        inner, out = width * 2**stage, 4 * width * 2**stage
        for block in range(blocks):
            name = f'{res}res{stage + 2}.{block}'
            if block == 0:
                layer(f'{name}.shortcut', out, channels, 1, 1, norm=True)
            layer(f'{name}.conv1', inner, channels, 1, 1, norm=True)
            layer(f'{name}.conv2', inner, inner, 3, 3, norm=True)
            layer(f'{name}.conv3', out, inner, 1, 1, norm=True)
            channels = out
        layer(f'backbone.fpn_lateral{stage + 2}', fpn, out, 1, 1)
        layer(f'backbone.fpn_output{stage + 2}', fpn, fpn, 3, 3)
    layer(f'{RPN}.conv', fpn, fpn, 3, 3)
    layer(f'{RPN}.objectness_logits', 3, fpn, 1, 1)
    layer(f'{RPN}.anchor_deltas', 12, fpn, 1, 1)
    layer('roi_heads.box_head.fc1', fc, fpn * 49)
    layer('roi_heads.box_head.fc2', fc, fc)
    layer('roi_heads.box_predictor.cls_score', scores, fc)
    layer('roi_heads.box_predictor.bbox_pred', 4 * boxes, fc)
    for number, channels in enumerate((fpn, mask, mask, mask), 1):
        layer(f'roi_heads.mask_head.mask_fcn{number}', mask, channels, 3, 3)
    layer('roi_heads.mask_head.deconv', mask, mask, 2, 2)
    layer('roi_heads.mask_head.predictor', masks, mask, 1, 1)
    return shapes


def make_model(seed=0, dtype=torch.float32, **settings):
    """Random parameters under which activations neither vanish nor grow."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in model_shapes(**settings).items():
        values = torch.randn(shape, generator=random, dtype=torch.float64)
        if name.endswith(('running_var', 'norm.weight')):
            values = 0.5 + torch.rand(
                shape, generator=random, dtype=torch.float64)
        elif name.endswith('.weight'):
            values *= math.prod(shape[1:])**-0.5
        else:
            values *= 0.1
        if name.endswith('conv3.norm.weight'):
            values *= 0.2
        weights[name] = values.to(dtype)
    return weights


def conv(w, name, x, stride=1):
    weight = w[f'{name}.weight']
    padding = weight.shape[-1] // 2
    x = F.conv2d(x, weight, w.get(f'{name}.bias'), stride, padding)
    if f'{name}.norm.weight' not in w:
        return x
    norm = {
        part: w[f'{name}.norm.{part}'][:, None, None]
        for part in ('weight', 'bias', 'running_mean', 'running_var')
    }
    spread = (norm['running_var'] + 1e-5).sqrt()
    return ((x - norm['running_mean']) / spread * norm['weight'] +
            norm['bias'])


def bottleneck(w, name, x, stride, stride_in_1x1):
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    out = conv(w, f'{name}.conv1', x, first).relu()
    out = conv(w, f'{name}.conv2', out, second).relu()
    out = conv(w, f'{name}.conv3', out)
    if f'{name}.shortcut.weight' in w:
        x = conv(w, f'{name}.shortcut', x, stride)
    return (out + x).relu()


def backbone(w, images, stride_in_1x1):
    """(N, 3, H, W) normalised images -> p2 to p6."""
    x = conv(w, 'backbone.bottom_up.stem.conv1', images, 2).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    found = []
    for stage in range(2, 6):
        block = 0
        while f'backbone.bottom_up.res{stage}.{block}.conv1.weight' in w:
            stride = 2 if block == 0 and stage > 2 else 1
            x = bottleneck(w, f'backbone.bottom_up.res{stage}.{block}', x,
                           stride, stride_in_1x1)
            block += 1
        found.append(x)
    outs, above = [], 0
    for stage in range(5, 1, -1):
        above = conv(w, f'backbone.fpn_lateral{stage}',
                     found[stage - 2]) + above
        outs.insert(0, conv(w, f'backbone.fpn_output{stage}', above))
        above = above.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return [*outs, outs[-1][:, :, ::2, ::2]]


def decode(deltas, boxes, weights):
    """Move and scale boxes (..., x1 y1 x2 y2) by (..., dx dy dw dh)."""
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + size / 2
    centre = centre + deltas[..., :2] / weights[0] * size
    limit = math.log(1000 / 16)
    half = (deltas[..., 2:] / weights[1]).clamp(max=limit).exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def rpn_level(w, level, feature):
    """(1, C, H, W) -> objectness logits (A,) and boxes (A, 4) of a level."""
    hidden = conv(w, f'{RPN}.conv', feature).relu()
    logits = conv(w, f'{RPN}.objectness_logits', hidden)[0]
    deltas = conv(w, f'{RPN}.anchor_deltas', hidden)[0]
    found_logits, found_deltas, anchors = [], [], []
    stride, size = 4 << level, 32 << level
    for y in range(logits.shape[1]):
        for x in range(logits.shape[2]):
            for number, ratio in enumerate((0.5, 1.0, 2.0)):
                wide = size / ratio**0.5
                high = wide * ratio
                anchors.append([
                    x * stride - wide / 2, y * stride - high / 2,
                    x * stride + wide / 2, y * stride + high / 2
                ])
                found_logits.append(logits[number, y, x])
                found_deltas.append(deltas[4 * number:4 * number + 4, y, x])
    anchors = logits.new_tensor(anchors)
    return torch.stack(found_logits), decode(
        torch.stack(found_deltas), anchors, (1, 1))


def clip(boxes, shape):
    height, width = shape
    return torch.stack([
        boxes[..., 0].clamp(0, width), boxes[..., 1].clamp(0, height),
        boxes[..., 2].clamp(0, width), boxes[..., 3].clamp(0, height)
    ], -1)


def nms(boxes, scores, threshold):
    """Indices of the boxes that are kept, best first."""
    order, kept = scores.argsort(descending=True).tolist(), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while order:
        best = order.pop(0)
        kept.append(best)
        rest = boxes[order]
        overlap = (
            torch.minimum(rest[:, 2:], boxes[best, 2:]) -
            torch.maximum(rest[:, :2], boxes[best, :2]))
        shared = overlap.clamp(min=0).prod(1)
        iou = shared / (area[order] + area[best] - shared)
        order = [i for i, value in zip(order, iou) if value <= threshold]
    return torch.tensor(kept, dtype=torch.long)


def proposals(w, features, shape, most=1000):
    """p2 to p6 of one image -> (P, 4) boxes, best first, P <= most."""
    kept = []
    for level, feature in enumerate(features):
        logits, boxes = rpn_level(w, level, feature)
        logits, order = logits.sort(descending=True)
        logits, boxes = logits[:1000], clip(boxes[order[:1000]], shape)
        real = (boxes[:, 2:] > boxes[:, :2]).all(1)
        logits, boxes = logits[real], boxes[real]
        chosen = nms(boxes, logits, 0.7)
        kept.append((logits[chosen], boxes[chosen]))
    logits, boxes = (torch.cat(part) for part in zip(*kept))
    return boxes[logits.argsort(descending=True)[:most]]


def samples(start, length, bins, size):
    """(bins, size) weights that average bilinear samples along an axis."""
    grid = math.ceil(length / bins)
    at = start + (torch.arange(bins * grid) + 0.5) * length / (bins * grid)
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.long()
    rows = torch.arange(len(at))
    weights = torch.zeros(len(at), size)
    weights[rows, low] += 1 - (at - low)
    weights[rows, (low + 1).clamp(max=size - 1)] += at - low
    return (weights * inside[:, None]).reshape(bins, grid, size).mean(1)


def pool(features, boxes, side):
    """p2 to p5 and (R, 4) boxes -> (R, C, side, side), RoIAlign v2."""
    pooled = []
    for box in boxes:
        area = (box[2:] - box[:2]).prod()
        level = int((4 + (area.sqrt() / 224 + 1e-8).log2()).floor())
        level = min(max(level, 2), 5)
        feature = features[level - 2][0]
        x1, y1, x2, y2 = (box / 2**level).tolist()
        rows = samples(y1 - 0.5, y2 - y1, side, feature.shape[1])
        columns = samples(x1 - 0.5, x2 - x1, side, feature.shape[2])
        pooled.append(rows @ feature @ columns.T)
    return torch.stack(pooled)


def box_head(w, pooled, boxes, softmax):
    """(R, C, 7, 7) and (R, 4) -> scores (R, K) and boxes (R, K or 1, 4)."""
    x = pooled.flatten(1)

    def full(name, x):
        return x @ w[f'{name}.weight'].T + w[f'{name}.bias']

    x = full('roi_heads.box_head.fc1', x).relu()
    x = full('roi_heads.box_head.fc2', x).relu()
    logits = full('roi_heads.box_predictor.cls_score', x)
    deltas = full('roi_heads.box_predictor.bbox_pred', x)
    scores = logits.softmax(1)[:, :-1] if softmax else logits.sigmoid()
    deltas = deltas.reshape(len(x), -1, 4)
    return scores, decode(deltas, boxes[:, None], (10, 5))


def mask_head(w, pooled):
    """(R, C, 14, 14) -> mask logits (R, K or 1, 28, 28)."""
    name = 'roi_heads.mask_head'
    x = pooled
    for number in range(1, 5):
        x = conv(w, f'{name}.mask_fcn{number}', x).relu()
    up = torch.einsum('rcyx,cokl->roykxl', x, w[f'{name}.deconv.weight'])
    rois, out, high, _, wide, _ = up.shape
    up = up.reshape(rois, out, 2 * high, 2 * wide)
    up = (up + w[f'{name}.deconv.bias'][:, None, None]).relu()
    return conv(w, f'{name}.predictor', up)


def detect(w, image, stride_in_1x1, softmax, rois=1000, most=300):
    """One normalised image -> boxes (D, 4), scores and labels, best first."""
    shape = image.shape[-2:]
    features = backbone(w, image, stride_in_1x1)
    rois = proposals(w, features, shape, rois)
    scores, boxes = box_head(w, pool(features, rois, 7), rois, softmax)
    boxes = clip(boxes, shape).expand(-1, scores.shape[1], 4)
    found = []
    for label in range(scores.shape[1]):
        chosen = scores[:, label] > 1e-4
        own, own_boxes = scores[chosen, label], boxes[chosen, label]
        kept = nms(own_boxes, own, 0.5)
        found.append((own_boxes[kept], own[kept], torch.full_like(kept,
                                                                  label)))
    boxes, scores, labels = (torch.cat(part) for part in zip(*found))
    order = scores.argsort(descending=True)[:most]
    return boxes[order], scores[order], labels[order]
