"""Suppression against loops over boxes, in plain Python."""
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.host import nms_ops
from eql_mmdet.host.nms_ops import nms, settle, soft_nms

#: Few pairs are listed, many go block by block; both must be right.
WAYS = pytest.mark.parametrize('listed, block, pairs', [
    ((2**15, 2**21), 128, 2**15),
    ((-1, -1), 128, 2**15),
    ((-1, -1), 3, 7),
    ((40, 40), 5, 20),
])


@st.composite
def detections(draw):
    """Boxes and scores: crowds, equal boxes, boxes without area, ties."""
    number = draw(st.integers(0, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    size = draw(st.sampled_from([4., 20., 300.]))
    boxes = torch.rand(number, 4, generator=generator) * size
    boxes[:, 2:] = boxes[:, :2] + torch.rand(
        number, 2, generator=generator) * 12
    if draw(st.booleans()):
        boxes = boxes.round()
    if draw(st.booleans()):
        boxes = boxes - 1e4
    if draw(st.booleans()):
        boxes[::5, 2:] = boxes[::5, :2] - 1  # no sides at all
    levels = draw(st.sampled_from([3, 10**6]))
    scores = (torch.rand(number, generator=generator) * levels).round()
    return boxes, scores / levels


def iou(a, b, offset):
    one, zero = np.float32(offset), np.float32(0)
    inter = (
        max(zero,
            min(a[2], b[2]) - max(a[0], b[0]) + one) *
        max(zero,
            min(a[3], b[3]) - max(a[1], b[1]) + one))
    areas = [(x[2] - x[0] + one) * (x[3] - x[1] + one) for x in (a, b)]
    union = areas[0] + areas[1] - inter
    return inter / union if union else np.float32(np.nan)


def one_by_one(boxes, scores, threshold, offset):
    kept, boxes = [], boxes.numpy()
    for i in scores.sort(descending=True)[1].tolist():
        if not any(
                iou(boxes[i], boxes[j], offset) > np.float32(threshold)
                for j in kept):
            kept.append(i)
    return kept


@WAYS
@settings(deadline=None, max_examples=60)
@given(
    found=detections(),
    threshold=st.sampled_from([-0.1, 0., 0.3, 0.5, 0.7, 1.]),
    offset=st.sampled_from([0, 1]))
def test_boxes_are_kept_one_by_one(listed, block, pairs, found, threshold,
                                   offset):
    with mock.patch.multiple(nms_ops, LISTED=listed, BLOCK=block, PAIRS=pairs):
        kept = nms(*found, threshold, offset)
    assert kept.tolist() == one_by_one(*found, threshold, offset)


def soft_one_by_one(boxes, scores, threshold, sigma, low, method, offset):
    """Take the best, lower the others, forget the low; scores differ."""
    left = {i: np.float32(s) for i, s in enumerate(scores.tolist())}
    boxes, taken = boxes.numpy(), []
    while left:
        best = max(left, key=left.get)
        taken.append((best, left.pop(best)))
        for i in list(left):
            share = iou(boxes[best], boxes[i], offset)
            if method == 2:
                left[i] *= np.float32(np.exp(-share * share / sigma))
            elif share >= threshold:
                left[i] *= 1 - share if method else 0
            if left[i] < low:
                del left[i]
    return taken


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
def test_scores_are_lowered_one_by_one(method, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(50, 4, generator=generator) * 20
    boxes[:, 2:] += boxes[:, :2] + 1
    scores = torch.rand(50, generator=generator)
    args = (0.3, 0.5, 0.05, method, offset)
    dets, index = soft_nms(boxes, scores, *args)
    expected = soft_one_by_one(boxes, scores, *args)
    assert index.tolist() == [i for i, _ in expected]
    assert torch.equal(dets[:, :4], boxes[index])
    np.testing.assert_allclose(dets[:, 4], [s for _, s in expected], rtol=1e-5)
    assert 0 < len(index) < 50


def test_a_chain_of_overlaps_is_settled_in_order():
    better, worse = torch.arange(40), torch.arange(1, 41)
    keep = settle(better, worse, 41)
    assert keep.tolist() == [i % 2 == 0 for i in range(41)]


@pytest.mark.parametrize('dtype',
                         [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_compared_in_float32_or_better(dtype):
    generator = torch.Generator().manual_seed(0)
    boxes = (torch.rand(80, 4, generator=generator) * 9).to(dtype)
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.randperm(80, generator=generator).to(dtype) / 128
    kept = nms(boxes, scores, 0.5, 0)
    assert kept.tolist() == nms(boxes.float(), scores.float(), 0.5, 0).tolist()
    assert soft_nms(boxes, scores, 0.3, 0.5, 0.1, 1, 0)[0].dtype == dtype


def test_far_boxes_are_not_compared():
    """Categories that MMCV shifts apart cost no comparison."""
    boxes = torch.tensor([[0., 0., 9., 9.]]).repeat(3000, 1)
    boxes += 1000. * torch.arange(3000)[:, None]
    better, worse = nms_ops._close_pairs(boxes, 0.5, 0)
    assert len(better) == len(worse) == 0
