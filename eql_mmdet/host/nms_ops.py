"""Non-maximum suppression without compiling, as MMCV's CPU kernels do it."""
import numpy as np
import torch
from torch import Tensor

#: Boxes that are settled at once.
BLOCK = 512
#: Pairs of boxes that are compared at once.
PAIRS = 2**18


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Keep boxes that no better kept box overlaps.

    The best 512 boxes that are left are settled, then strike out what they
    overlap. Boxes of equal scores come in the order given.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,)
        iou_threshold: Boxes with a higher IoU overlap.
        offset: 0, or 1: sides are x2 - x1 + 1.

    Returns:
        (k,) int64 indices of the boxes that are kept, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    exact = torch.promote_types(boxes.dtype, torch.float32)
    left = boxes.to(exact).index_select(0, order)
    kept = []
    while len(left):
        block, later = left[:BLOCK], left[BLOCK:]
        keep = _settle(_overlap(block, block, iou_threshold, offset))
        kept.append(order[:BLOCK][keep])
        alive = ~_hit(block[keep], later, iou_threshold, offset)
        order, left = order[BLOCK:][alive], later[alive]
    return torch.cat(kept) if kept else order


def _settle(overlap: Tensor) -> Tensor:
    """Decide greedily, best first: (n, n) overlaps to (n,) kept.

    Starting from "all are kept", the rule "kept if no better kept box
    overlaps" is applied to all boxes until nothing changes. After t rounds
    boxes with a chain of less than t overlaps before them are right.
    """
    overlap = overlap.triu(1)
    keep = overlap.new_ones(len(overlap))
    while True:
        before = keep
        keep = ~(overlap & before[:, None]).any(0)
        if torch.equal(before, keep):
            return keep


def _hit(kept: Tensor, later: Tensor, iou_threshold: float,
         offset: int) -> Tensor:
    """Mark the later boxes that a kept one overlaps: (m,) bool."""
    width = max(1, PAIRS // max(1, len(kept)))
    return torch.cat([
        _overlap(kept, part, iou_threshold, offset).any(0)
        for part in later.split(width)
    ])


def _overlap(one: Tensor, other: Tensor, iou_threshold: float,
             offset: int) -> Tensor:
    """Compare all pairs in the operations of MMCV's kernel: (n, m) bool."""
    x1, y1, x2, y2 = one.T[..., None]
    u1, v1, u2, v2 = other.T
    width = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1))
    height = torch.minimum(y2, v2).sub_(torch.maximum(y1, v1))
    inter = (width + offset).clamp_(min=0) * (height + offset).clamp_(min=0)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    other_area = (u2 - u1 + offset) * (v2 - v1 + offset)
    return inter.div_((area + other_area).sub_(inter)) > iou_threshold
