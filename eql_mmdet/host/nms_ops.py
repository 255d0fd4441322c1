"""Non-maximum suppression without compiling, as MMCV's CPU kernels do it."""
from typing import Tuple

import numpy as np
import torch
from torch import Tensor

#: Boxes that are settled at once.
BLOCK = 256
#: Pairs of boxes that are compared at once.
PAIRS = 2**16


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Keep boxes that no better kept box overlaps.

    The best 256 boxes that are left are settled, then strike out what they
    overlap. Equal scores are ordered by the call that MMCV makes, so that
    its choice among them is ours.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,)
        iou_threshold: Boxes with a higher IoU overlap.
        offset: 0, or 1: sides are x2 - x1 + 1.

    Returns:
        (k,) int64 indices of the boxes that are kept, best first.
    """
    order = scores.sort(0, descending=True)[1]
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


def soft_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float,
             min_score: float, method: int,
             offset: int) -> Tuple[Tensor, Tensor]:
    """Lower the scores of boxes by their overlap with better ones.

    One box after the other is settled, on the CPU as in MMCV, with its
    swaps: they decide which of equal scores comes first.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,)
        iou_threshold: From this IoU on, scores are lowered; not by method 2.
        sigma: Divides the squared IoU in method 2.
        min_score: Boxes whose score falls below it are dropped.
        method: Factor of the score: 0 none, 1 one minus IoU, 2 Gaussian.
        offset: 0, or 1: sides are x2 - x1 + 1.

    Returns:
        (k, 5) boxes and lowered scores, best first, and (k,) int64 indices.
    """
    state = torch.cat([boxes, scores[:, None]], 1).float().cpu().numpy()
    index = np.arange(len(state))
    thr, low = np.float32(iou_threshold), np.float32(min_score)
    place = 0
    while place < len(state):
        best = place
        if not np.isnan(state[place, 4]):
            best += int(np.nanargmax(state[place:, 4]))
        state[[place, best]] = state[[best, place]]
        index[[place, best]] = index[[best, place]]
        place += 1
        rest = state[place:]
        iou = _iou_with(state[place - 1], rest, offset)
        if method == 2:
            # Rounded from double precision it is that of the C library.
            power = -(iou * iou) / np.float32(sigma)
            rest[:, 4] *= np.exp(power.astype(np.float64)).astype(np.float32)
        else:
            rest[iou >= thr, 4] *= (1 - iou[iou >= thr]) * np.float32(method)
        order = place + _swapped(~(rest[:, 4] < low))
        state = np.concatenate([state[:place], state[order]])
        index = np.concatenate([index[:place], index[order]])
    return (torch.from_numpy(state).to(boxes),
            torch.from_numpy(index).to(boxes.device))


def _iou_with(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    shift = np.float32(offset)
    sides = [
        np.minimum(box[2 + i], others[:, 2 + i]) -
        np.maximum(box[i], others[:, i]) + shift for i in (0, 1)
    ]
    inter = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    area, other_area = (
        (x[2] - x[0] + shift) * (x[3] - x[1] + shift)
        for x in (box, others.T))
    with np.errstate(divide='ignore', invalid='ignore'):
        return inter / (area + other_area - inter)


def _swapped(alive: np.ndarray) -> np.ndarray:
    """Order what is left when each dead box is replaced by the last one."""
    order = np.arange(len(alive))
    number = int(alive.sum())
    order[:number][~alive[:number]] = order[number:][alive[number:]][::-1]
    return order[:number]
