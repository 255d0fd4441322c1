"""Masks as compressed RLE bytes, the form the LVIS evaluators read."""
from typing import Any, List, Sequence, Tuple

import numpy as np
import pycocotools.mask as mask_utils
import torch

from ..annotations.run_lengths import rle_pixels


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode one mask; the bytes are those of ``pycocotools.mask.encode``.

    Only the columns that hold the object are read in column order, which is
    what makes it several times faster: most objects are small.

    Args:
        mask: (height, width) boolean array.

    Returns:
        The compressed counts.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    left, right = (columns[0], columns[-1] + 1) if len(columns) else (0, 0)
    return encode_crop(mask[:, left:right], 0, int(left), mask.shape)


def encode_crop(crop: np.ndarray, top: int, left: int,
                size: Tuple[int, int]) -> bytes:
    """Encode a mask of which a rectangle is known and the rest is empty.

    A column of the crop and a zero below it are put end to end, so every
    run of ones ends where its column does. Where the crop is as high as the
    image, a run that ends at the foot of a column and one that begins at
    the head of the next have the same place in the image, and are one run.

    Args:
        crop: (rows, columns) boolean array.
        top: Row of the image where the crop begins.
        left: Column of the image where it begins.
        size: (height, width) of the image.

    Returns:
        The compressed counts, those of ``pycocotools.mask.encode``.
    """
    height, width = size
    rows, columns = crop.shape
    pixels = np.zeros(columns * (rows + 1) + 1, dtype=bool)
    pixels[1:].reshape(columns, rows + 1)[:, :rows] = crop.T
    column, row = np.divmod(
        np.flatnonzero(pixels[1:] != pixels[:-1]), rows + 1)
    edges = (left + column) * height + top + row
    if rows == height:
        joint = np.flatnonzero(edges[1:] == edges[:-1])
        edges = np.delete(edges, np.concatenate([joint, joint + 1]))
    counts = np.diff(edges, prepend=0, append=height * width)
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    rle = dict(size=[height, width], counts=counts.tolist())
    return mask_utils.frPyObjects(rle, height, width)['counts']


def encode_rows(masks: Any, rows: np.ndarray, size: Tuple[int, int],
                image_id: int) -> List[bytes]:
    """Encode the chosen masks of one image.

    Args:
        masks: (n, height, width) boolean or 0/1 tensor or array, on any
            device; n RLE dicts, or ``RLEMasks``, whose other masks stay
            where they are (both are only checked).
        rows: (m,) indices of the masks to encode.
        size: (height, width) of the image in the annotation file.
        image_id: For messages.

    Returns:
        m compressed counts.

    Raises:
        TypeError: If the masks are not boolean, integers or RLE dicts.
        ValueError: If they do not have the size of the image, or an RLE is
            damaged.
    """
    if not isinstance(masks, (torch.Tensor, np.ndarray)):
        if hasattr(type(masks), 'rles'):  # only what is wanted is encoded
            return _read_rles(masks[rows].rles, size, image_id)
        return _read_rles([masks[row] for row in rows], size, image_id)
    if tuple(masks.shape[1:]) != size:
        raise ValueError(
            f'masks of image {image_id} must have its size (height, width) '
            f'{size}, but have {tuple(masks.shape[1:])}; predict at the '
            f'original size, or check ann_file')
    if isinstance(masks, torch.Tensor):
        if masks.device.type != 'cpu':  # only what is wanted leaves it
            masks = masks[torch.from_numpy(rows).to(masks.device)]
            rows = np.arange(len(rows))
        masks = masks.detach().cpu().numpy()
    if masks.dtype.kind not in 'bui':
        raise TypeError(f'masks of image {image_id} must be boolean or 0/1 '
                        f'integers, but are {masks.dtype}; threshold them')
    return [encode_mask(masks[row].astype(bool, copy=False)) for row in rows]


def rle_dicts(counts: Sequence[bytes], sizes: np.ndarray) -> List[dict]:
    """Wrap RLE bytes as the evaluators want them.

    Args:
        counts: n compressed counts.
        sizes: (n, 2) height and width.

    Returns:
        n dicts with ``size`` and ``counts``.
    """
    return [
        dict(size=size, counts=rle)
        for size, rle in zip(sizes.tolist(), counts)
    ]


def _read_rles(rles: List[Any], size: Tuple[int, int],
               image_id: int) -> List[bytes]:
    counts = [_read_rle(rle, size, image_id) for rle in rles]
    if counts and (rle_pixels(counts) != size[0] * size[1]).any():
        raise ValueError(f'a mask of image {image_id} is a damaged RLE: it '
                         f'does not describe {size[0]} x {size[1]} pixels; '
                         f'write the predictions again')
    return counts


def _read_rle(rle: Any, size: Tuple[int, int], image_id: int) -> bytes:
    if not isinstance(rle, dict) or not {'size', 'counts'} <= set(rle):
        raise TypeError(f'masks of image {image_id} must be tensors or RLE '
                        f'dicts with "size" and "counts", but one is '
                        f'{rle!r:.80}')
    if tuple(rle['size']) != size:
        raise ValueError(f'masks of image {image_id} must have its size '
                         f'(height, width) {size}, but one has '
                         f'{tuple(rle["size"])}; check ann_file')
    counts = rle['counts']
    if isinstance(counts, list):
        counts = mask_utils.frPyObjects(rle, *size)['counts']
    return counts.encode() if isinstance(counts, str) else bytes(counts)
