"""Masks of RoIs in the image: only the pixels around their boxes."""
from typing import Iterator, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def paste_crops(masks: Tensor, boxes: Tensor, size: Tuple[int, int],
                threshold: float) -> Iterator[Tuple[int, int, Tensor]]:
    """Sample each mask at the pixels of its box and one around it.

    Pixel for pixel these are the operations of MMDetection's
    ``_do_paste_mask``, so the result is the same to the last bit; what
    depends on a row or a column alone is computed for all boxes together.

    Args:
        masks: (n, h, w) float32 scores in [0, 1].
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the image.
        size: (height, width) of the image.
        threshold: A pixel belongs to the object from this score on.

    Yields:
        Top row, left column and (rows, columns) bool, for each mask in
        turn; everything outside is False.
    """
    windows = _windows(boxes, size).tolist()
    ys = _positions(boxes[:, 1::2], size[0])
    xs = _positions(boxes[:, 0::2], size[1])
    for i, (left, top, right, bottom) in enumerate(windows):
        grid = boxes.new_empty(1, bottom - top, right - left, 2)
        grid[..., 0] = xs[i, left:right]
        grid[..., 1] = ys[i, top:bottom, None]
        if grid.numel() == 0:
            yield top, left, grid[0, ..., 0].bool()
            continue
        pixels = F.grid_sample(masks[i, None, None], grid, align_corners=False)
        yield top, left, pixels[0, 0] >= threshold


def clear_outside(bitmaps: Tensor, boxes: Tensor) -> Tensor:
    """Clear, in place, all but the pixels of each box and one around it.

    MMDetection pastes no others on a CPU. Elsewhere it pastes into the whole
    image at once, and draws the mask of a box without width or height from
    one side of the image to the other.

    Args:
        bitmaps: (n, height, width) bool.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the image.

    Returns:
        ``bitmaps``.
    """
    _, height, width = bitmaps.shape
    windows = _windows(boxes, (height, width))
    left, top, right, bottom = windows.split(1, dim=1)
    row = torch.arange(height, device=boxes.device)
    column = torch.arange(width, device=boxes.device)
    bitmaps &= ((row >= top) & (row < bottom))[:, :, None]
    bitmaps &= ((column >= left) & (column < right))[:, None, :]
    return bitmaps


def _windows(boxes: Tensor, size: Tuple[int, int]) -> Tensor:
    """Return left, top, right, bottom of the pixels to sample: (n, 4)."""
    limit = torch.tensor(size[::-1], device=boxes.device)
    begin = (boxes[:, :2].floor() - 1).clamp(min=0).long().minimum(limit)
    end = (boxes[:, 2:].ceil() + 1).long().minimum(limit)
    return torch.cat([begin, end.maximum(begin)], dim=1)


def _positions(edges: Tensor, length: int) -> Tensor:
    """Place pixel centres between two edges, -1 to 1: (n, length)."""
    centres = torch.arange(length, device=edges.device).to(torch.float32) + 0.5
    low, high = edges.split(1, dim=1)
    places = (centres - low) / (high - low) * 2 - 1
    return places.masked_fill(places.isinf(), 0)  # a box without width
