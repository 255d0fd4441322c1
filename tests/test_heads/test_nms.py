"""class_nms: against MMDetection, a loop over categories, plain Python."""
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import nms as mmcv_nms
from mmdet.models.layers import multiclass_nms
from torch.profiler import ProfilerActivity, profile

from eql_mmdet.heads import nms
from eql_mmdet.heads.nms import class_nms, greedy_keep


@st.composite
def detections(draw, max_classes=6):
    """Scores (R, K), boxes (R, K, 4): many ties, touching, empty boxes."""
    rows, classes = draw(st.integers(1, 40)), draw(st.integers(1, max_classes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    scores = torch.rand(rows, classes, generator=generator)
    levels = draw(st.sampled_from([2, 20, 10**6]))
    scores = (scores * levels).round() / levels
    if draw(st.booleans()):
        scores[0] = torch.nan
    size = draw(st.sampled_from([3, 8, 100]))
    boxes = size * torch.rand(rows, classes, 4, generator=generator)
    if draw(st.booleans()):
        boxes = boxes.round()  # IoU of exactly 0.5, and no area
    if draw(st.booleans()):
        boxes = boxes - 5
    boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:].abs()
    return scores, boxes


def loop_over_categories(scores, boxes, score_thr, iou_threshold, max_num):
    """MMCV's compiled NMS of each category, on boxes as they are."""
    kept = []
    for label in range(scores.shape[1]):
        rows = (scores[:, label] > score_thr).nonzero().squeeze(1)
        rows = rows[scores[rows, label].argsort(descending=True, stable=True)]
        # Ranks for scores: MMCV's sort does not keep the order of ties.
        rank = -torch.arange(len(rows)).float()
        found = mmcv_nms(boxes[rows, label], rank, iou_threshold)[1]
        kept += [(-scores[row, label].item(), row * scores.shape[1] + label)
                 for row in rows[found].tolist()]
    return [index for _, index in sorted(kept)[:max_num]]


def plain_python(scores, boxes, score_thr, iou_threshold, max_num):
    """Greedy suppression over all candidates, one pair after the other."""
    kept = []
    thr, low = np.float32(iou_threshold), np.float32(score_thr)
    flat, boxes = scores.flatten().tolist(), boxes.flatten(0, 1).numpy()
    order = sorted((i for i, s in enumerate(flat) if s > low),
                   key=lambda i: (-flat[i], i))
    for i in order:
        same = [j for j in kept if (i - j) % scores.shape[1] == 0]
        if not any(iou(boxes[i], boxes[j]) > thr for j in same):
            kept.append(i)
    return kept[:max_num]


def iou(a, b):
    zero = np.float32(0)
    inter = (
        max(zero,
            min(a[2], b[2]) - max(a[0], b[0])) *
        max(zero,
            min(a[3], b[3]) - max(a[1], b[1])))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (areas - inter) if areas != inter else np.float32(np.nan)


@settings(deadline=None, max_examples=150)
@given(
    found=detections(),
    score_thr=st.sampled_from([-1., 0.05, 0.5, 1.]),
    iou_threshold=st.sampled_from([0., 0.3, 0.5, 0.7, 1.]),
    max_num=st.sampled_from([1, 3, 10, 1000]),
    first=st.sampled_from([1, 4]),
    block=st.sampled_from([1, 3, 512]))
@pytest.mark.parametrize('oracle', [loop_over_categories, plain_python])
def test_detections_are_those_of_the_oracle(oracle, found, score_thr,
                                            iou_threshold, max_num, first,
                                            block):
    scores, boxes = found
    with mock.patch.multiple(nms, FIRST=first, BLOCK=block):
        kept = class_nms(scores, lambda row, label: boxes[row, label],
                         score_thr, iou_threshold, max_num)
    assert kept.index.tolist() == oracle(scores, boxes, score_thr,
                                         iou_threshold, max_num)
    row, label = kept.index // scores.shape[1], kept.index % scores.shape[1]
    assert torch.equal(kept.labels, label)
    assert torch.equal(kept.dets[:, :4], boxes[row, label])
    assert torch.equal(kept.dets[:, 4], scores[row, label])


def host_with_stable_order(scores, boxes, thr, cfg, max_num):
    """Run the host on ranks: it does not keep the order of equal scores."""
    flat = scores.flatten()
    order = flat.argsort(descending=True, stable=True)
    rank = torch.empty(len(flat))
    rank[order] = torch.arange(len(flat), 0, -1).float()
    rank = rank.masked_fill(~(flat > thr), 0).view_as(scores)
    rank = torch.cat([rank, torch.zeros(len(scores), 1)], dim=1)
    dets, labels, index = multiclass_nms(
        boxes.flatten(1), rank, 0.5, cfg, max_num, return_inds=True)
    dets[:, 4] = flat[index]
    return dets, labels, index


@st.composite
def unrounded(draw):
    """As ``detections``, with boxes that no shift of the host rounds.

    They are multiples of 1/8 below 2,667; 90 categories shift them to less
    than 2^18, and float32 has 24 digits.
    """
    scores, boxes = draw(detections(max_classes=90))
    boxes = (boxes * draw(st.sampled_from([1, 13]))).clamp(max=2666)
    return scores, (8 * boxes).round() / 8


@settings(deadline=None, max_examples=200)
@given(
    found=unrounded(),
    score_thr=st.sampled_from([-1., 0.05, 0.9]),
    iou_threshold=st.sampled_from([0.3, 0.5]),
    max_num=st.sampled_from([1, 10, 300]),
    split_thr=st.sampled_from([1, 10000]),
    first=st.sampled_from([1, 4]))
def test_detections_are_the_bits_of_the_host(found, score_thr, iou_threshold,
                                             max_num, split_thr, first):
    scores, boxes = found
    if split_thr > 1:  # Shifted boxes below 0 meet the category before.
        boxes = boxes.clamp(min=0)
    cfg = dict(iou_threshold=iou_threshold, split_thr=split_thr)
    with mock.patch.multiple(nms, FIRST=first, BLOCK=7):
        kept = class_nms(scores, lambda row, label: boxes[row, label],
                         score_thr, iou_threshold, max_num)
    wanted = host_with_stable_order(scores, boxes, score_thr, cfg, max_num)
    assert all(map(torch.equal, kept, wanted))
    assert [t.dtype for t in kept] == [t.dtype for t in wanted]


def test_the_host_rounds_boxes_of_late_categories_and_we_do_not():
    """IoU 1.6 / 3.4; shifted by 8,384 x 1,001 > 2^23 pixels it is 2 / 3."""
    boxes = torch.tensor([[0., 0., 3.4, 1.], [0., 0., 1.6, 1.],
                          [900., 900., 1000., 1000.]])
    scores = torch.zeros(3, 10001)
    scores[:, 8384] = torch.tensor([0.9, 0.8, 0.7])
    ours = class_nms(scores[:, :-1], lambda row, _: boxes[row], 0.1, 0.5, 9)
    cfg = dict(iou_threshold=0.5, split_thr=1)
    assert ours.index.tolist() == [8384, 18384, 28384]
    dets, _ = multiclass_nms(boxes, scores, 0.1, cfg, 9)
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.7])


def test_candidates_are_widened_until_enough_survive():
    """1,000 copies of one box come before ten others."""
    boxes = torch.tensor([[0., 0., 9., 9.]]).repeat(1010, 1)
    boxes[1000:] += 100 * torch.arange(1, 11)[:, None]
    scores = torch.linspace(1, 0.5, 1010)[:, None]
    asked = []

    def boxes_of(row, label):
        asked.append(len(row))
        return boxes[row]

    kept = class_nms(scores, boxes_of, 0., 0.5, 5)
    assert kept.index.tolist() == [0, 1000, 1001, 1002, 1003]
    # 20, 80, 320 and 1,280 candidates; no block is decoded beyond need.
    assert sum(asked) == 20 + 80 + 320 + 1010


def test_decoding_stops_at_the_detections_wanted():
    asked = []

    def boxes_of(row, label):
        asked.append(len(row))
        return torch.stack([row, row, row + 1, row + 1], 1).float()

    class_nms(torch.rand(5000, 1), boxes_of, 0., 0.5, 300)
    assert sum(asked) <= 1200


@pytest.mark.parametrize('rows, classes', [(0, 3), (4, 3)])
def test_no_candidates_give_empty_results(rows, classes):
    kept = class_nms(
        torch.zeros(rows, classes), lambda row, _: torch.zeros(len(row), 4),
        0.5, 0.5, 10)
    assert kept.dets.shape == (0, 5)
    assert kept.labels.dtype == kept.index.dtype == torch.int64


def test_a_chain_of_conflicts_is_resolved_in_order():
    """Each box overlaps its neighbours alone: every second one stays."""
    left = 4. * torch.arange(41)
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    keep = greedy_keep(boxes, torch.zeros(41).long(), 0.4)
    assert keep.tolist() == [i % 2 == 0 for i in range(41)]


@pytest.mark.parametrize('threshold, kept', [(0.5, 2), (0.49999, 1)])
def test_an_iou_equal_to_the_threshold_is_no_conflict(threshold, kept):
    boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 5.]])
    keep = greedy_keep(boxes, torch.zeros(2).long(), threshold)
    assert keep.sum() == kept


def operations(num_classes):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, num_classes, generator=generator)
    boxes = torch.rand(200, 4, generator=generator) * 100
    boxes[:, 2:] += boxes[:, :2]
    with profile(activities=[ProfilerActivity.CPU]) as record:
        class_nms(scores, lambda row, _: boxes[row], 0., 0.9, 300)
    return sum(e.name.startswith('aten::') for e in record.events())


def test_the_number_of_operations_does_not_grow_with_the_categories():
    few, many = operations(100), operations(5000)
    assert many <= 1.1 * few


@pytest.mark.parametrize('shape, max_num', [((3, 4), 0), ((3, 4), -1),
                                            ((3, ), 5)])
def test_wrong_arguments_are_refused(shape, max_num):
    with pytest.raises(ValueError, match='expected scores'):
        class_nms(torch.rand(shape), lambda row, label: row, 0., 0.5, max_num)
