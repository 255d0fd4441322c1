"""Suppression and RoIAlign against plain loops, on generated cases.

Every case has a number, which is the seed of all that is drawn for it.
"""
import math
from unittest import mock

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms

from eql_mmdet.heads import nms as class_wise
from eql_mmdet.host import nms_ops, roi_align
from eql_mmdet.host.roi_cells import Sampling

THRESHOLDS = (0., 0.25, 1 / 3, 0.5, 0.7, 1.)
#: So few boxes are never compared in blocks without this.
IN_BLOCKS = dict(LISTED=(-1, -1), BLOCK=3, PAIRS=5)
LISTED = dict(LISTED=nms_ops.LISTED)
CASES = pytest.mark.parametrize(
    'numbers',
    [range(100), pytest.param(range(5000), marks=pytest.mark.slow)],
    ids=len)


def draw_boxes(rng, least=0):
    """Draw up to 14 boxes: equal, touching, within others, without area.

    Corners are multiples of 1/2, so that many overlaps are exactly the
    threshold, and shifting boxes apart rounds none of them.
    """
    number = rng.integers(least, 15)
    corner = rng.integers(0, rng.choice([3, 8, 40]), (number, 2)) / 2
    side = rng.integers(0, rng.choice([4, 12]), (number, 2)) / 2
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    if number and rng.random() < 0.5:
        chosen = rng.integers(number, size=(2, 3))
        boxes[chosen[0]] = boxes[chosen[1]]
        touching = boxes[chosen[0, 0]]
        boxes[-1] = touching + np.tile([touching[2] - touching[0], 0], 2)
    return boxes


def draw_scores(rng, shape):
    """Draw scores with ties, or hardly any."""
    levels = rng.choice([2, 6, 10_000])
    return (rng.integers(0, levels, shape) / levels).astype(np.float32)


def draw_threshold(rng):
    return float(rng.choice([*THRESHOLDS, rng.random()]))


def iou(one, other, offset=0):
    sides = [
        max(min(one[2 + k], other[2 + k]) - max(one[k], other[k]) + offset, 0)
        for k in (0, 1)
    ]
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset)
             for box in (one, other)]
    inter = np.float32(sides[0] * sides[1])
    union = np.float32(sum(areas) - inter)
    return inter / union if union else 0


def greedy(boxes, order, labels, threshold, offset=0):
    """Keep a box unless a better kept one of its label overlaps it."""
    kept, boxes = [], boxes.tolist()
    for i in order:
        if not any(labels[i] == labels[j]
                   and iou(boxes[i], boxes[j], offset) > np.float32(threshold)
                   for j in kept):
            kept.append(i)
    return kept


def best_first(scores):
    """Order boxes by the call that MMCV makes, ties included."""
    return torch.from_numpy(scores).sort(descending=True)[1].tolist()


def nms_differs(number):
    rng = np.random.default_rng(number)
    boxes = draw_boxes(rng)
    scores, threshold = draw_scores(rng, len(boxes)), draw_threshold(rng)
    offset = int(rng.integers(2))
    with mock.patch.multiple(nms_ops, **(IN_BLOCKS if number % 2 else LISTED)):
        kept = nms_ops.nms(
            torch.from_numpy(boxes), torch.from_numpy(scores), threshold,
            offset)
    expected = greedy(boxes, best_first(scores), [0] * len(boxes), threshold,
                      offset)
    return kept.tolist() != expected


def batched_nms_differs(number):
    rng = np.random.default_rng(number)
    boxes = draw_boxes(rng, least=1)  # MMCV refuses to batch none
    scores, threshold = draw_scores(rng, len(boxes)), draw_threshold(rng)
    labels = rng.integers(0, 4, len(boxes))
    dets, kept = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)),
                             dict(type='nms', iou_threshold=threshold))
    expected = greedy(boxes, best_first(scores), labels, threshold)
    wanted = np.column_stack([boxes, scores])[expected]
    return kept.tolist() != expected or not np.array_equal(dets, wanted)


def class_nms_differs(number):
    rng = np.random.default_rng(number)
    classes, max_num = rng.integers(1, 5), int(rng.integers(1, 9))
    boxes = np.repeat(draw_boxes(rng), classes, axis=0)
    if rng.random() < 0.5:  # boxes of their own for each class
        boxes += rng.integers(0, 3, boxes.shape[:1])[:, None]
    scores = draw_scores(rng, (len(boxes) // classes, classes))
    threshold, lowest = draw_threshold(rng), float(rng.choice([0., 0.4]))
    by_row = torch.from_numpy(boxes).view(-1, classes, 4)
    # Small numbers of candidates never need a second block without this.
    with mock.patch.multiple(class_wise, FIRST=1, WIDEN=2, BLOCK=3):
        found = class_wise.class_nms(
            torch.from_numpy(scores), lambda row, label: by_row[row, label],
            lowest, threshold, max_num)
    flat = scores.ravel()
    order = np.argsort(-flat, kind='stable')
    expected = greedy(boxes, order[flat[order] > lowest],
                      np.arange(len(flat)) % classes, threshold)[:max_num]
    wanted = np.column_stack([boxes, flat])[expected]
    return (found.index.tolist() != expected
            or not np.array_equal(found.dets, wanted)
            or found.labels.tolist() != [i % classes for i in expected])


@CASES
@pytest.mark.parametrize('differs',
                         [nms_differs, batched_nms_differs, class_nms_differs])
def test_boxes_are_kept_as_by_a_greedy_loop(numbers, differs):
    assert [number for number in numbers if differs(number)] == []


def add_sample(weight, y, x, share):
    """Add the four pixels around a sample to the weights of a bin."""
    height, width = weight.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    weight[top, left] += share * (top + 1 - y) * (left + 1 - x)
    weight[top, right] += share * (top + 1 - y) * (x - left)
    weight[bottom, left] += share * (y - top) * (left + 1 - x)
    weight[bottom, right] += share * (y - top) * (x - left)


def weights_of(box, sampling):
    """Return how much each pixel counts in each bin: (*bins, H, W)."""
    weights = np.zeros((*sampling.bins, *sampling.size))
    shift = 0.5 if sampling.aligned else 0.
    x1, y1, x2, y2 = (c * sampling.scale - shift for c in box)
    sides = [y2 - y1, x2 - x1]
    if not sampling.aligned:
        sides = [max(side, 1.) for side in sides]
    sides = [side / number for side, number in zip(sides, sampling.bins)]
    # MMCV counts samples in single precision.
    rows, columns = (
        sampling.ratio or math.ceil(np.float32(side)) for side in sides)
    for i, j in np.ndindex(*sampling.bins):
        for k, m in np.ndindex(rows, columns):
            add_sample(weights[i, j],
                       y1 + i * sides[0] + (k + 0.5) * sides[0] / rows,
                       x1 + j * sides[1] + (m + 0.5) * sides[1] / columns,
                       1 / (rows * columns))
    return weights


def draw_rois(rng, sampling):
    """Draw up to 4 RoIs of 2 images: inside, beyond, around, empty."""
    number, (height, width) = rng.integers(0, 5), sampling.size
    edge = np.array([width, height])
    corner = rng.random((number, 2)) * (edge + 4) - 3
    side = rng.random((number, 2)) * rng.choice([1, 5, 14])
    if rng.random() < 0.5:
        corner, side = (np.round(x * 4) / 4 for x in (corner, side))
    side[rng.random((number, 2)) < 0.1] = 0
    if not sampling.aligned:  # then they count as one pixel
        side[rng.random((number, 2)) < 0.1] = -1
    boxes = np.concatenate([corner, corner + side], 1) / sampling.scale
    return np.column_stack([rng.integers(0, 2, number), boxes])


def roi_align_differs(number):
    rng = np.random.default_rng(number)
    sampling = Sampling(
        tuple(rng.integers(1, 5, 2).tolist()),
        tuple(rng.integers(1, 10, 2).tolist()),
        float(rng.choice([1., 0.5, 0.125])), int(rng.integers(0, 4)),
        bool(rng.integers(2)))
    features = rng.normal(size=(2, rng.integers(1, 7), *sampling.size))
    rois = draw_rois(rng, sampling)
    image = rois[:, 0].astype(int)
    weights = np.zeros((len(rois), *sampling.bins, *sampling.size))
    for r, (_, *box) in enumerate(rois.tolist()):
        weights[r] = weights_of(box, sampling)
    expected = np.einsum('rijhw,rchw->rcij', weights, features[image])
    grad = rng.normal(size=expected.shape)
    wanted = np.zeros_like(features)
    np.add.at(wanted, image, np.einsum('rijhw,rcij->rchw', weights, grad))
    with mock.patch.object(roi_align, 'ENTRIES',
                           50 if number % 2 else roi_align.ENTRIES):
        out = roi_align.roi_align(
            torch.from_numpy(features), torch.from_numpy(rois), sampling)
        gradient = roi_align.roi_align_gradient(
            torch.from_numpy(grad), torch.from_numpy(rois), 2, sampling)
    return not (close(out, expected) and close(gradient, wanted))


def close(found, expected):
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=1e-11, atol=1e-11)


@CASES
def test_bins_and_gradients_are_those_of_the_definition(numbers):
    assert [number for number in numbers if roi_align_differs(number)] == []
