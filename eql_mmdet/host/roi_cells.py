"""Which pixels the bins of RoIs sum, along one axis at a time."""
from typing import NamedTuple, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Sampling(NamedTuple):
    """Where RoIs are sampled.

    Attributes:
        bins: Height and width of the output.
        size: Height and width of the features.
        scale: Pixels of the features in a unit of the RoIs.
        ratio: Samples along each side of a bin; 0: as many as it has pixels.
        aligned: Whether the centres of pixels are at halves.
    """
    bins: Tuple[int, int]
    size: Tuple[int, int]
    scale: float
    ratio: int
    aligned: bool


class Cells(NamedTuple):
    """What the bins sum along one axis: n cells, bin after bin.

    Attributes:
        count: (R, bins) int32 cells of each bin.
        begin: (R, bins) int32 the first of them.
        pixel: (n,) int32
        weight: (n,)
    """
    count: Tensor
    begin: Tensor
    pixel: Tensor
    weight: Tensor


def cells_of(rois: Tensor, sampling: Sampling, axis: int) -> Cells:
    """Sum the samples of each bin along one axis, pixel by pixel.

    Args:
        rois: (R, 5) image, x1, y1, x2, y2; float32 or float64.
        sampling: Where to sample.
        axis: 0 for rows, 1 for columns.

    Returns:
        The cells; the weights of a bin within the features sum to 1.
    """
    bins, size = sampling.bins[axis], sampling.size[axis]
    start, side, grid = (
        x[:, None].expand(-1, bins)
        for x in sides_of_bins(rois, sampling, axis))
    number = torch.arange(bins, device=rois.device, dtype=rois.dtype)
    start = start + number * side
    first, last = (
        _pixel(_position(start, side, grid.clamp(min=1), step), size)
        for step in (0, grid.clamp(min=1) - 1))
    # Dense samples share pixels; of distant ones each has two of its own.
    window, apart = (last - first).abs() + 2, 2 * grid.int()
    shared = window <= apart
    count = torch.minimum(window, apart)
    begin = starts(count)[:-1].view_as(count)

    owner, step = members(apart.flatten() // 2, torch.zeros_like(count))
    start, side, grid, shared, place, first = (
        x.flatten().index_select(0, owner)
        for x in (start, side, grid, shared, begin, torch.minimum(first,
                                                                  last)))
    position = _position(start, side, grid, step)
    low = _pixel(position, size)
    place = (place + torch.where(shared, low - first, 2 * step)).long()
    upper = torch.where(low >= size - 1, 0, position.clamp(min=0) - low)
    inside = ((position >= -1) & (position <= size)) / grid
    pixel = torch.zeros_like(torch.repeat_interleave(count.flatten()))
    weight = torch.zeros_like(pixel, dtype=rois.dtype)
    for after, share in ((0, 1 - upper), (1, upper)):
        pixel.scatter_(0, place + after, (low + after).clamp(max=size - 1))
        weight.index_add_(0, place + after, share * inside)
    return Cells(count, begin, pixel, weight)


def sides_of_bins(rois: Tensor, sampling: Sampling,
                  axis: int) -> Tuple[Tensor, Tensor, Tensor]:
    """Divide RoIs into bins along one axis.

    In the operations and the order of MMCV's kernel, whose scale has single
    precision, so that every sample falls between the same pixels.

    Args:
        rois: (R, 5) image, x1, y1, x2, y2; float32 or float64.
        sampling: Where to sample.
        axis: 0 for rows, 1 for columns.

    Returns:
        Start of the RoI, side of a bin, and samples in it, (R,) each.
    """
    scale, shift = float(np.float32(sampling.scale)), 0.5 * sampling.aligned
    start = rois[:, 2 - axis] * scale - shift
    side = (rois[:, 4 - axis] * scale - shift) - start
    if not sampling.aligned:
        side = side.clamp(min=1)
    side = side / sampling.bins[axis]
    if sampling.ratio > 0:
        return start, side, torch.full_like(side, sampling.ratio)
    return start, side, side.float().ceil().clamp(min=0).to(side)


def check_sides(rois: Tensor, sampling: Sampling) -> None:
    """Refuse on a CPU what the kernel refuses; other devices would wait.

    Args:
        rois: (R, 5) image, x1, y1, x2, y2.
        sampling: Where to sample.

    Raises:
        ValueError: If a side of an RoI is negative or NaN.
    """
    if rois.device.type != 'cpu':
        return
    sides = [sides_of_bins(rois, sampling, axis)[1] for axis in (0, 1)]
    wrong = ~((sides[0] >= 0) & (sides[1] >= 0))
    if wrong.any():
        raise ValueError(f'expected RoIs with sides of at least 0, but the '
                         f'sides of {wrong.sum()} of {len(rois)} are negative '
                         f'or NaN')


def members(count: Tensor, begin: Tensor) -> Tuple[Tensor, Tensor]:
    """List the members of groups; each group is ``begin``, ``begin + 1``, ...

    Args:
        count: (groups,) int32 members of each group.
        begin: int32, as many; the first member of each.

    Returns:
        Group and member, (n,) int32 each.
    """
    owner = torch.repeat_interleave(count)
    shift = begin.flatten() - starts(count)[:-1]
    place = torch.arange(len(owner), device=count.device, dtype=count.dtype)
    return owner, place + shift.index_select(0, owner)


def starts(count: Tensor) -> Tensor:
    """Return where groups of these sizes begin, and where the last ends.

    Args:
        count: Any shape, g groups.

    Returns:
        (g + 1,) int32.
    """
    return F.pad(count.flatten().cumsum(0, dtype=torch.int32), (1, 0))


def _position(start: Tensor, side: Tensor, grid: Tensor, step) -> Tensor:
    return start + (step + 0.5) * side / grid


def _pixel(position: Tensor, size: int) -> Tensor:
    return position.clamp(0, size - 1).int()
