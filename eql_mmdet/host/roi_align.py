"""RoIAlign without compiling: its matrix, times the features.

Bilinear sampling and averaging are linear, and separate into rows and
columns. Along each axis a bin of an RoI sums a few cells, pixel and weight;
the products of the cells of both axes are a row of a sparse matrix.
``embedding_bag`` is torch's product of such a matrix with the features.
"""
from typing import Iterator, List, NamedTuple, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .roi_cells import Bins, Sampling, bins_of, cells_of, members, starts

#: Entries of the matrix that are made at once, about 50 bytes each.
ENTRIES = 2**21
#: With at most so many channels, rows are summed before columns.
FEW_CHANNELS = 4


class Matrix(NamedTuple):
    """A sparse matrix of n entries, row after row.

    Attributes:
        start: (rows + 1,) int32 first entry of each row, and n.
        column: (n,) int32
        weight: (n,)
    """
    start: Tensor
    column: Tensor
    weight: Tensor


def roi_align(features: Tensor, rois: Tensor, sampling: Sampling) -> Tensor:
    """Average bilinear samples of each bin, as MMCV's kernel does.

    Args:
        features: (N, C, H, W) float32 or float64.
        rois: (R, 5) image, x1, y1, x2, y2; of the same type.
        sampling: Where to sample.

    Returns:
        (R, C, *bins).

    Raises:
        ValueError: If, on a CPU, a side of an RoI is negative or NaN.
    """
    bins, channels = bins_of(rois, sampling), features.shape[1]
    if not len(rois):
        return features.new_zeros(0, channels, *sampling.bins)
    if channels <= FEW_CHANNELS:
        return _rows_then_columns(features, bins, sampling)
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    shape = (-1, *sampling.bins, channels)
    found = [
        _product(_matrix(part, sampling), table).view(shape)
        for part in _parts(bins, sampling)
    ]
    return torch.cat(found).permute(0, 3, 1, 2)


def roi_align_gradient(grad: Tensor, rois: Tensor, images: int,
                       sampling: Sampling) -> Tensor:
    """Carry the gradient of ``roi_align`` back to the features.

    Args:
        grad: (R, C, *bins) float32 or float64.
        rois: (R, 5), of the same type.
        images: N.
        sampling: Where was sampled.

    Returns:
        (N, C, H, W).
    """
    channels, (height, width) = grad.shape[1], sampling.size
    if not len(rois):
        return grad.new_zeros(images, channels, height, width)
    bins = bins_of(rois, sampling)
    if channels <= FEW_CHANNELS:
        return _columns_then_rows(grad, bins, images, sampling)
    rows = grad.permute(0, 2, 3, 1).reshape(-1, channels)
    total, end = None, 0
    for part in _parts(bins, sampling):
        matrix = _matrix(part, sampling)
        begin, end = end, end + len(matrix.start) - 1
        product = _product(
            _transpose(matrix, images * height * width), rows[begin:end])
        total = product if total is None else total.add_(product)
    return total.view(images, height, width, channels).permute(0, 3, 1, 2)


def _rows_then_columns(features: Tensor, bins: Bins,
                       sampling: Sampling) -> Tensor:
    """Spare the products of cells, which few channels do not repay.

    The masks of objects have one channel, and so many pixels that an RoI
    can have 100,000 entries in the matrix.
    """
    channels, width = features.shape[1], sampling.size[1]
    table = features.transpose(1, 2).reshape(-1, channels * width)
    found = []
    for part in _few_parts(bins, channels, sampling):
        rows, columns = _factors(part, sampling)
        picked = _product(rows, table).view(len(columns), -1, width)
        found.append(picked @ columns.transpose(1, 2))
    shape = (-1, sampling.bins[0], channels, sampling.bins[1])
    return torch.cat(found).view(shape).transpose(1, 2)


def _columns_then_rows(grad: Tensor, bins: Bins, images: int,
                       sampling: Sampling) -> Tensor:
    channels, (height, width) = grad.shape[1], sampling.size
    total = grad.new_zeros(images * height, channels * width)
    lines = grad.transpose(1, 2).flatten(1, 2)
    end = 0
    for part in _few_parts(bins, channels, sampling):
        rows, columns = _factors(part, sampling)
        begin, end = end, end + len(columns)
        spread = (lines[begin:end] @ columns).view(-1, channels * width)
        total += _product(_transpose(rows, len(total)), spread)
    return total.view(images, height, channels, width).transpose(1, 2)


def _factors(bins: Bins, sampling: Sampling) -> Tuple[Matrix, Tensor]:
    """Return rows of bins as a matrix, and columns as (R, bins, W)."""
    height, width = sampling.size
    rows, columns = (cells_of(bins, sampling, axis) for axis in (0, 1))
    owner = torch.repeat_interleave(rows.count.sum(1, dtype=torch.int32))
    first = (bins.image * height).index_select(0, owner)
    place = torch.repeat_interleave(columns.count.flatten()) * width
    dense = bins.side.new_zeros(columns.count.numel() * width).index_add_(
        0, place + columns.pixel, columns.weight)
    return (Matrix(starts(rows.count), first + rows.pixel,
                   rows.weight), dense.view(-1, sampling.bins[1], width))


def _few_parts(bins: Bins, channels: int,
               sampling: Sampling) -> Iterator[Bins]:
    each = channels * sampling.bins[0] + sampling.bins[1]
    return _split(bins, max(1, ENTRIES // (each * sampling.size[1])))


def _product(matrix: Matrix, table: Tensor) -> Tensor:
    return F.embedding_bag(
        matrix.column,
        table,
        matrix.start,
        mode='sum',
        per_sample_weights=matrix.weight,
        include_last_offset=True)


def _transpose(matrix: Matrix, columns: int) -> Matrix:
    column, order = matrix.column.sort(stable=True)
    row = torch.repeat_interleave(matrix.start.diff())
    bounds = torch.arange(
        columns + 1, device=column.device, dtype=column.dtype)
    return Matrix(
        torch.searchsorted(column, bounds, out_int32=True),
        row.index_select(0, order), matrix.weight.index_select(0, order))


def _parts(bins: Bins, sampling: Sampling) -> Iterator[Bins]:
    """Split RoIs into parts of about ENTRIES entries.

    Only where there can be more does the host ask how many there are.
    """
    number = np.array(sampling.bins)
    limit = np.array(sampling.size) + 2 * number
    if sampling.ratio > 0:
        limit = np.minimum(limit, 2 * number * sampling.ratio)
    if len(bins.image) * limit.prod() <= ENTRIES:
        return iter([bins])
    most = 2 * bins.grid.double() * bins.grid.new_tensor(number)
    most = torch.minimum(most, most.new_tensor(limit)).prod(1)
    part = torch.div(most.cumsum(0), ENTRIES, rounding_mode='floor')
    return _split(bins, torch.bincount(part.long()).tolist())


def _split(bins: Bins, sizes: Union[int, List[int]]) -> Iterator[Bins]:
    return map(Bins._make, zip(*(x.split(sizes) for x in bins)))


def _matrix(bins: Bins, sampling: Sampling) -> Matrix:
    """Multiply the cells of rows with those of columns; bins are rows."""
    height, width = sampling.size
    rows, columns = (cells_of(bins, sampling, axis) for axis in (0, 1))
    shape = (len(bins.image), *sampling.bins)
    lines = rows.count[:, :, None].expand(shape).flatten()
    across = columns.count[:, None].expand(shape).flatten()
    # A line is a cell of a row within a bin; it meets all of its columns.
    owner, row = members(lines, rows.begin[:, :, None].expand(shape).flatten())
    image = bins.image[:, None, None].expand(shape).flatten()
    corner = (image.index_select(0, owner) * height +
              rows.pixel.index_select(0, row)) * width
    weight = rows.weight.index_select(0, row)
    begin = columns.begin[:, None].expand(shape).flatten()
    line, column = members(
        across.index_select(0, owner), begin.index_select(0, owner))
    return Matrix(
        starts(lines * across),
        corner.index_select(0, line) + columns.pixel.index_select(0, column),
        weight.index_select(0, line) * columns.weight.index_select(0, column))
