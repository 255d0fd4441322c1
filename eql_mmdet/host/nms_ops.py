"""Non-maximum suppression without compiling, as MMCV's CPU kernels do it."""
from typing import Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from .roi_cells import members

#: Boxes that are settled at once where most overlap.
BLOCK = 128
#: Boxes that are compared all with all; torch starts threads for more,
#: which takes longer than the comparison.
PAIRS = 2**15 - 1
#: Listing one pair takes as long as comparing so many in blocks.
LISTING = 64
#: Pairs that are listed in any case, and at most.
LISTED = 2**15, 2**21


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Keep boxes that no better kept box overlaps.

    If few boxes are close to one another, their pairs are listed. If many
    are, the best 128 are settled and strike out what they overlap, before
    the others are looked at. Equal scores are ordered by the call that MMCV
    makes, so that its choice among them is ours.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,)
        iou_threshold: Boxes with a higher IoU overlap.
        offset: 0, or 1: sides are x2 - x1 + 1.

    Returns:
        (k,) int64 indices of the boxes that are kept, best first.
    """
    order = scores.sort(0, descending=True)[1]
    left = boxes.to(torch.promote_types(boxes.dtype, torch.float32))[order]
    kept = []
    while len(left):
        first, later = left, left[:0]
        pairs = _close_pairs(left, iou_threshold, offset)
        if pairs is None:
            first, later = left[:BLOCK], left[BLOCK:]
            pairs = _all_pairs(first)
        better, worse = pairs
        hit = overlap(first[better], first[worse], iou_threshold, offset)
        hit = hit.nonzero().squeeze(1)
        keep = settle(better[hit], worse[hit], len(first))
        kept.append(order[:len(first)][keep])
        alive = ~_struck(first[keep], later, iou_threshold, offset)
        order, left = order[len(first):][alive], later[alive]
    return torch.cat(kept) if kept else order


def settle(better: Tensor, worse: Tensor, number: int) -> Tensor:
    """Decide greedily which of the boxes that overlap are kept.

    A box is kept if no kept better box overlaps it. Starting from "all are
    kept" this rule is applied to all boxes at once until nothing changes:
    after t rounds every box with a chain of less than t overlaps before it
    is right, so the end is the greedy result.

    Args:
        better: (p,) index of the better box of each pair that overlaps.
        worse: (p,) index of the other.
        number: Boxes.

    Returns:
        (number,) bool.
    """
    keep = torch.ones(number, dtype=torch.bool, device=worse.device)
    while True:
        hits = torch.zeros_like(
            keep, dtype=torch.int64).index_add_(0, worse, keep[better].long())
        before, keep = keep, hits == 0
        if torch.equal(before, keep):
            return keep


def overlap(one: Tensor,
            other: Tensor,
            iou_threshold: float,
            offset: int = 0) -> Tensor:
    """Compare boxes in the operations of MMCV's CPU kernel.

    Args:
        one: (..., 4) x1, y1, x2, y2.
        other: (..., 4), to be broadcast with the first.
        iou_threshold: Boxes with a higher IoU overlap.
        offset: 0, or 1: sides are x2 - x1 + 1.

    Returns:
        (...,) bool.
    """
    x1, y1, x2, y2 = one.unbind(-1)
    u1, v1, u2, v2 = other.unbind(-1)
    width = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1))
    height = torch.minimum(y2, v2).sub_(torch.maximum(y1, v1))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    other_area = (u2 - u1 + offset) * (v2 - v1 + offset)
    return inter.div_((area + other_area).sub_(inter)) > iou_threshold


def _close_pairs(boxes: Tensor, iou_threshold: float,
                 offset: int) -> Optional[Tuple[Tensor, Tensor]]:
    """List pairs that can overlap, if they are few; others cannot.

    The IoU is at most the share of a width that both boxes have. So of two
    boxes the right one begins before ``reach`` of the left one, here with
    more room than rounding needs.

    Returns:
        Better and worse, (p,) each, or None.
    """
    if iou_threshold < 0:
        return None
    left, order = boxes[:, 0].double().sort()
    right = boxes[:, 2].double()[order] + offset
    reach = right - iou_threshold * (1 - 1e-4) * (right - left)
    stop = torch.searchsorted(left, reach, right=True)
    place = torch.arange(1, len(order) + 1, device=order.device)
    count = (stop - place).clamp(min=0)
    few, most = LISTED
    if count.sum() > min(most, max(few, len(order)**2 // LISTING)):
        return None
    owner, partner = members(count.int(), place.int())
    one, other = order[owner.long()], order[partner.long()]
    return torch.minimum(one, other), torch.maximum(one, other)


def _all_pairs(boxes: Tensor) -> Tuple[Tensor, Tensor]:
    return tuple(
        torch.triu_indices(len(boxes), len(boxes), 1, device=boxes.device))


def _struck(kept: Tensor, later: Tensor, iou_threshold: float,
            offset: int) -> Tensor:
    """Mark the later boxes that a kept one overlaps: (m,) bool."""
    return torch.cat([
        overlap(kept[:, None], part, iou_threshold, offset).any(0)
        for part in later.split(max(1, PAIRS // max(1, len(kept))))
    ])


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
    area, other_area = ((x[2] - x[0] + shift) * (x[3] - x[1] + shift)
                        for x in (box, others.T))
    with np.errstate(divide='ignore', invalid='ignore'):
        return inter / (area + other_area - inter)


def _swapped(alive: np.ndarray) -> np.ndarray:
    """Order what is left when each dead box is replaced by the last one."""
    order = np.arange(len(alive))
    number = int(alive.sum())
    order[:number][~alive[:number]] = order[number:][alive[number:]][::-1]
    return order[:number]
