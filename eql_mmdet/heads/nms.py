"""Class-wise non-maximum suppression that stops at the detections wanted."""
from typing import Callable, NamedTuple, Tuple

import torch
from torch import Tensor

from ..host.nms_ops import overlap, settle
from .candidates import best_candidates

#: Candidates looked at first, for each detection wanted.
FIRST = 4
#: How many times more are looked at when too few of them survive.
WIDEN = 4
#: Candidates that are decoded and compared at once.
BLOCK = 512

BoxesOf = Callable[[Tensor, Tensor], Tensor]


class Kept(NamedTuple):
    """The k detections of an image, best first.

    Attributes:
        dets: (k, 5) x1, y1, x2, y2, score.
        labels: (k,) int64 in [0, K).
        index: (k,) int64, ``row * K + label`` of each.
    """
    dets: Tensor
    labels: Tensor
    index: Tensor


def class_nms(scores: Tensor, boxes_of: BoxesOf, score_thr: float,
              iou_threshold: float, max_num: int) -> Kept:
    """Suppress class by class and keep the best detections, exactly.

    Why a part of the candidates is enough: order all of them by falling
    score, equal scores by rising index. Greedy suppression decides on a
    candidate from better ones of its class alone. So what it keeps among
    the first n of this order is the beginning of what it keeps of all; and
    as soon as that beginning holds ``max_num``, it is the result. If it
    does not, four times as many candidates are taken, at last all.

    This is what ``multiclass_nms`` of MMDetection returns on a CPU, bit for
    bit, but for two things. It shifts the boxes of category c by
    c * (largest coordinate + 1) before it compares them, and so rounds
    them: here boxes are compared as they are. And it sorts without
    ``stable=True``, so that the order of equal scores is any; here it is
    that of a stable sort. Two boxes conflict if
    inter / (area + area - inter) > threshold in float32, on every device;
    MMCV's CUDA kernel multiplies instead of dividing.

    The host waits twice for the candidates; for each block of 512 of them
    twice, and once for each link of the longest chain of conflicts. None
    of it depends on K.

    Args:
        scores: (R, K); NaN is never a candidate.
        boxes_of: Maps rows and labels, (n,) int64 each, to (n, 4) boxes.
        score_thr: Candidates have scores strictly above it.
        iou_threshold: Boxes with a higher IoU suppress one another.
        max_num: Detections wanted, at least 1.

    Returns:
        At most ``max_num`` detections.

    Raises:
        ValueError: If ``max_num`` is less than 1 or scores are not (R, K).
    """
    if max_num < 1 or scores.dim() != 2:
        raise ValueError(f'expected scores (R, K) and max_num of at least 1, '
                         f'but got {tuple(scores.shape)} and {max_num}')
    number = FIRST * max_num
    while True:
        index, complete = best_candidates(scores, score_thr, number)
        kept = _first_survivors(index, scores.shape[1], boxes_of,
                                iou_threshold, max_num)
        if complete or len(kept[0]) >= max_num:
            index, boxes = kept[0][:max_num], kept[1][:max_num]
            row, label = _row_and_label(index, scores.shape[1])
            dets = torch.cat([boxes, scores[row, label][:, None]], dim=1)
            return Kept(dets, label, index)
        number *= WIDEN


def _first_survivors(index: Tensor, num_classes: int, boxes_of: BoxesOf,
                     iou_threshold: float,
                     max_num: int) -> Tuple[Tensor, Tensor]:
    """Go on until ``max_num`` survive; (k,) indices and (k, 4) boxes."""
    kept = index[:0]
    boxes = boxes_of(kept, kept)
    for block in index.split(BLOCK):
        tried = torch.cat([kept, block])
        row, label = _row_and_label(tried, num_classes)
        boxes = torch.cat(
            [boxes, boxes_of(row[len(kept):], label[len(kept):])])
        keep = greedy_keep(boxes.float(), label, iou_threshold, len(kept))
        kept, boxes = tried[keep], boxes[keep]
        if len(kept) >= max_num:
            break
    return kept, boxes


def _row_and_label(index: Tensor, num_classes: int) -> Tuple[Tensor, Tensor]:
    return (torch.div(index, num_classes,
                      rounding_mode='floor'), index % num_classes)


def greedy_keep(boxes: Tensor,
                labels: Tensor,
                iou_threshold: float,
                settled: int = 0) -> Tensor:
    """Mark the boxes that greedy class-wise suppression keeps.

    Args:
        boxes: (n, 4) float32, best first.
        labels: (n,) int64.
        iou_threshold: Boxes conflict if their IoU is higher.
        settled: This many boxes at the beginning are known to be kept.

    Returns:
        (n,) bool.
    """
    better, worse = _pairs_of_a_class(labels, settled)
    conflict = overlap(boxes[better], boxes[worse], iou_threshold)
    conflict = conflict.nonzero().squeeze(1)
    return settle(better[conflict], worse[conflict], len(labels))


def _pairs_of_a_class(labels: Tensor, settled: int) -> Tuple[Tensor, Tensor]:
    """List all pairs of a class whose second is not settled: (p,) each."""
    order = labels.argsort(stable=True)
    place = torch.arange(len(labels), device=labels.device)
    rank = torch.empty_like(order).scatter_(0, order, place)
    start = torch.searchsorted(labels[order], labels)
    partners = rank - start
    partners[:settled] = 0
    worse = place.repeat_interleave(partners)
    pair = torch.arange(len(worse), device=labels.device)
    pair = pair - (partners.cumsum(0) - partners)[worse]
    return order[start[worse] + pair], worse
