"""Which pixels the bins of RoIs sum, along one axis at a time."""
from typing import NamedTuple, Tuple, Union

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


class Bins(NamedTuple):
    """How RoIs are divided; column 0 for rows, column 1 for columns.

    Attributes:
        image: (R,) int32
        start: (R, 2) where RoIs begin.
        side: (R, 2) side of a bin.
        grid: (R, 2) samples along it.
    """
    image: Tensor
    start: Tensor
    side: Tensor
    grid: Tensor


def bins_of(rois: Tensor, sampling: Sampling) -> Bins:
    """Divide RoIs into bins.

    In the operations and the order of MMCV's kernel, whose scale has single
    precision, so that every sample falls between the same pixels.

    Args:
        rois: (R, 5) image, x1, y1, x2, y2; float32 or float64.
        sampling: Where to sample.

    Returns:
        The bins.

    Raises:
        ValueError: If a side of an RoI is negative or NaN. Only on a CPU,
            as in MMCV: other devices would wait.
    """
    scale, shift = float(np.float32(sampling.scale)), 0.5 * sampling.aligned
    corners = rois[:, 1:] * scale - shift
    start = corners[:, :2].flip(1)
    side = corners[:, 2:].flip(1) - start
    if not sampling.aligned:
        side = side.clamp(min=1)
    if rois.device.type == 'cpu' and not (side >= 0).all():
        wrong = (~(side >= 0)).any(1).sum()
        raise ValueError(f'expected RoIs with sides of at least 0, but '
                         f'{wrong} of {len(rois)} have a negative side or NaN')
    side = side / side.new_tensor(sampling.bins)
    if sampling.ratio > 0:
        grid = torch.full_like(side, sampling.ratio)
    else:
        grid = side.float().ceil().clamp(min=0).to(side)
    return Bins(rois[:, 0].int(), start, side, grid)


def cells_of(bins: Bins, sampling: Sampling, axis: int) -> Cells:
    """Sum the samples of each bin along one axis, pixel by pixel.

    Args:
        bins: The bins of R RoIs.
        sampling: Where to sample.
        axis: 0 for rows, 1 for columns.

    Returns:
        The cells; the weights of a bin within the features sum to 1.
    """
    size = sampling.size[axis]
    start, side, grid = (x[:, axis, None] for x in bins[1:])
    number = torch.arange(sampling.bins[axis], device=side.device)
    start = start + number * side
    most = grid.clamp(min=1)
    first, last = (
        _pixel(_position(start, side, most, step), size)
        for step in (0, most - 1))
    # Dense samples share pixels; of distant ones each has two of its own.
    window, apart = (last - first).abs() + 2, 2 * grid.int()
    shared = window <= apart
    count = torch.minimum(window, apart)
    begin = starts(count)[:-1].view_as(count)

    first = torch.minimum(first, last)
    owner, step = members(grid.int().expand_as(count).flatten(), 0)
    start, side, grid, shared, place, first = (
        x.expand_as(count).flatten().index_select(0, owner)
        for x in (start, side, grid, shared, begin, first))
    position = _position(start, side, grid, step)
    low = _pixel(position, size)
    place = (place + torch.where(shared, low - first, 2 * step)).long()
    # Past the last pixel both shares are its own.
    upper = position.clamp(min=0) - low
    inside = ((position >= -1) & (position <= size)) / grid
    pixel = torch.zeros_like(torch.repeat_interleave(count.flatten()))
    weight = torch.zeros_like(pixel, dtype=side.dtype)
    for after, share in ((0, 1 - upper), (1, upper)):
        pixel.scatter_(0, place + after, (low + after).clamp(max=size - 1))
        weight.index_add_(0, place + after, share * inside)
    return Cells(count, begin, pixel, weight)


def members(count: Tensor, begin: Union[Tensor, int]) -> Tuple[Tensor, Tensor]:
    """List the members of groups; each group is ``begin``, ``begin + 1``, ...

    Args:
        count: (groups,) int32 members of each group.
        begin: (groups,) int32 first member of each, or one for all.

    Returns:
        Group and member, (n,) int32 each.
    """
    owner = torch.repeat_interleave(count)
    shift = begin - starts(count)[:-1]
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
