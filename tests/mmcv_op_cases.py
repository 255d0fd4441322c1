"""Inputs for MMCV's operators, made anew from seeds, and how to run them.

``record_mmcv_ops.py`` keeps what compiled MMCV makes of them.
"""
import itertools
from pathlib import Path

import numpy as np
import torch
from mmcv.ops import batched_nms, nms, roi_align, soft_nms

RECORD = Path(__file__).parent / 'test_host' / 'mmcv_ops.npz'
SIZE = (13, 17)
#: RoIAlign: aligned, samples, channels, scale, bins.
ROI_CASES = {
    f'roi {aligned} {ratio} {channels} {scale:.2f} {bins[0]}x{bins[1]}':
    (aligned, ratio, channels, scale, bins)
    for (aligned, ratio), (channels, scale, bins) in itertools.product(
        itertools.product((True, False), (0, 1, 2)), (
            (5, 0.25, (4, 4)),
            (5, 1 / 3, (2, 5)),
            (1, 1., (7, 7)),
            (2, 0.5, (3, 2)),
        ))
}
#: NMS: boxes, IoU threshold, and the arguments of ``mmcv.ops.nms``.
NMS_CASES = {
    f'nms {kind} {number} {threshold} {" ".join(map(str, args.values()))}':
    (kind, number, threshold, args)
    for kind, number, threshold, args in (
        *itertools.product(('crowd', 'rounded', 'clusters'), (0, 1, 40, 700),
                           (0., 0.5), (dict(offset=0), dict(offset=1))),
        ('crowd', 700, 0.5, dict(offset=0, score_threshold=0.3)),
        ('crowd', 700, 0.5, dict(offset=0, score_threshold=0.3, max_num=20)),
        ('crowd', 700, 0.7, dict(offset=1, score_threshold=0., max_num=7)),
    )
}
SOFT_CASES = {
    f'soft {kind} {number} {method} {offset}': (kind, number, method, offset)
    for kind, number, method, offset in itertools.product((
        'crowd', 'rounded'), (0, 1, 60), ('naive', 'linear', 'gaussian'), (0,
                                                                           1))
}
BATCHED_CASES = {
    f'batched {" ".join(map(str, cfg.values()))}': cfg
    for cfg in (
        dict(type='nms', iou_threshold=0.5),
        dict(type='nms', iou_threshold=0.5, class_agnostic=True),
        dict(type='nms', iou_threshold=0.5, split_thr=50),
        dict(type='nms', iou_threshold=0.5, split_thr=50, max_num=30),
        dict(type='nms', iou_threshold=0.3, max_num=30),
        dict(type='soft_nms', iou_threshold=0.3, min_score=0.05),
    )
}


def make_rois(scale, seed):
    """Fourteen RoIs of two images: everywhere, and of every size."""
    random = np.random.RandomState(seed)
    height, width = SIZE
    centre = random.rand(14, 2) * (width, height)
    side = np.exp(random.rand(14, 2) * 4 - 1)
    boxes = np.concatenate([centre - side / 2, centre + side / 2], 1)
    boxes[0] = -9, -8, -4, -3  # outside
    boxes[1] = width + 3, 2, width + 9, 8
    boxes[2] = -30, -30, 60, 50  # around everything
    boxes[3, 2:] = boxes[3, :2]  # a point
    boxes[4, 2] = boxes[4, 0]  # a line
    boxes[5] = 2, 3, 10, 11  # on pixels
    boxes[6] = -1, -1, width, height  # to the last valid sample
    image = random.randint(0, 2, (14, 1))
    rois = np.concatenate([image, boxes / scale], 1)
    return torch.from_numpy(rois.astype(np.float32))


def run_roi(name, dtype=torch.float32, device='cpu', number=None):
    """Return the output of a case, and a gradient of the features."""
    aligned, ratio, channels, scale, bins = ROI_CASES[name]
    random = np.random.RandomState(list(ROI_CASES).index(name))
    features = random.rand(2, channels, *SIZE).astype(np.float32)
    features = torch.from_numpy(features).to(device, dtype).requires_grad_()
    rois = make_rois(scale, 0)[:number].to(device, dtype)
    out = roi_align(features, rois, bins, scale, ratio, 'avg', aligned)
    weight = torch.from_numpy(random.rand(*out.shape).astype(np.float32))
    out.backward(weight.to(out))
    return out.detach(), features.grad


def make_boxes(kind, number, seed=0):
    """Boxes and scores; only far clusters and rounded scores have ties."""
    random = np.random.RandomState(seed)
    corner = random.rand(number, 2) * 100
    side = np.exp(random.rand(number, 2) * 3 + 1)
    scores = random.permutation(number) / max(number, 1) + 1e-3
    if kind == 'rounded':
        # Sides of 0, equal boxes, an IoU of exactly one half.
        corner, side = corner.round(-1), side.round(-1)
    if kind == 'clusters':
        # Ten scores, each once in every cluster.
        cluster = np.arange(number) // 10
        corner = corner * 0.1 + 1000 * cluster[:, None]
        scores = (np.arange(number) * 7 % 10 + 1) / 11
    boxes = np.concatenate([corner, corner + side], 1)
    return (torch.from_numpy(boxes.astype(np.float32)),
            torch.from_numpy(scores.astype(np.float32)))


def run_nms(name):
    """Return detections (k, 5) and indices (k,)."""
    if name in NMS_CASES:
        kind, number, threshold, args = NMS_CASES[name]
        return nms(*make_boxes(kind, number), threshold, **args)
    if name in SOFT_CASES:
        kind, number, method, offset = SOFT_CASES[name]
        return soft_nms(
            *make_boxes(kind, number), 0.3, 0.5, 0.05, method, offset=offset)
    boxes, scores = make_boxes('crowd', 120)
    labels = torch.arange(120) * 11 % 3
    return batched_nms(boxes, scores, labels, BATCHED_CASES[name])
