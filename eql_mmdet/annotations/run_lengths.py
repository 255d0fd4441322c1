"""The numbers in compressed RLEs, of many masks at once."""
from typing import Sequence

import numpy as np


def rle_pixels(counts: Sequence[bytes]) -> np.ndarray:
    """Count the pixels that compressed RLEs describe, zeros and ones.

    ``pycocotools`` reads a damaged RLE without complaint, leaving part of
    the mask undefined. A whole one describes height x width pixels.

    Args:
        counts: n compressed counts.

    Returns:
        (n,) pixels; -1 where the bytes cannot be RLE.
    """
    lengths = np.array([len(rle) for rle in counts], dtype=np.int64)
    code = np.frombuffer(b''.join(counts), dtype=np.uint8).astype(np.int64)
    owner = np.repeat(np.arange(len(counts)), lengths)
    code = code - 48
    # Six bits a byte: five of the number, lowest first, and "goes on".
    ends = (code & 32) == 0
    first = np.ones(len(code), dtype=bool)
    first[1:] = ends[:-1]
    start = np.maximum.accumulate(np.where(first, np.arange(len(code)), 0))
    shift = 5 * (np.arange(len(code)) - start)
    value = (code & 31) << np.minimum(shift, 55)
    value -= np.where(ends & (code & 16 > 0), 32 << np.minimum(shift, 55), 0)
    number = np.cumsum(first) - 1
    numbers = np.bincount(number, value, number.max(initial=-1) + 1)
    return _sum_counts(numbers, owner[first], len(counts),
                       _bad_bytes(code, ends, owner, lengths))


def _bad_bytes(code: np.ndarray, ends: np.ndarray, owner: np.ndarray,
               lengths: np.ndarray) -> np.ndarray:
    bad = np.zeros(len(lengths), dtype=bool)
    bad[owner[(code < 0) | (code > 63)]] = True
    last = np.cumsum(lengths) - 1
    bad |= (lengths == 0)
    bad[lengths > 0] |= ~ends[last[lengths > 0]]
    return bad


def _sum_counts(numbers: np.ndarray, owner: np.ndarray, total: int,
                bad: np.ndarray) -> np.ndarray:
    """Sum counts that are stored, from the fourth on, as differences."""
    size = np.bincount(owner, minlength=total)
    begin = (np.cumsum(size) - size)[owner]
    position = np.arange(len(numbers)) - begin
    counts = np.where(position == 0, numbers, 0)
    for parity in (0, 1):  # each differs from the second one before it
        mine = (position % 2 == parity) & (position > 0)
        sums = np.cumsum(np.where(mine, numbers, 0))
        before = np.concatenate([[0], sums])[begin]
        counts[mine] = (sums - before)[mine]
    pixels = np.bincount(owner, counts, total).astype(np.int64)
    bad[owner[counts < 0]] = True
    pixels[bad] = -1
    return pixels
