"""Masks as they lie in the file: bytes, until somebody needs them."""
import mmap
import os
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Union

import msgspec
import numpy as np
import pycocotools.mask as mask_utils

from .run_lengths import rle_pixels

#: What a ``segmentation`` is: nothing, polygons, run lengths.
NONE, POLYGONS, RLE = range(3)
#: Nothing that a mask can be.
OTHER = -1
_FIRST = {b'': NONE, b'n': NONE, b'[': POLYGONS, b'{': RLE}
_NUMBERS = b'0123456789+-.eE \t\r\n'
#: Numbers that make a polygon of three points.
_TRIANGLE = 6
#: Farther points are no pixels; to draw them takes all of the memory.
_FAR = 100_000
#: Makes ``[5,`` and ``-17.25`` look like `` 0 `` and `` 00.00``.
_SHAPE = bytes.maketrans(b'123456789[,\t\r\n-+E', b'000000000       e')
_LONG = b' 000000'
#: How faults begin that only say that there is nothing to compare with.
MISSING = 'has no '


class _Rle(msgspec.Struct):
    size: Tuple[Union[int, float], Union[int, float]]
    counts: Union[str, List[int]]


_POLYGON_DECODER = msgspec.json.Decoder(List[List[float]])
_RLE_DECODER = msgspec.json.Decoder(_Rle)


class MaskStore:
    """Where the masks of a file are, and the file to read them from.

    Only places are kept in memory. Each process reads what it needs from the
    file, which the operating system keeps once for all of them. A file that
    could not be read as it is (other encodings, remote ones) is kept whole.

    Args:
        source: Path of the file, or its bytes.
        starts: (M,) int64, first byte of each mask.
        lengths: (M,) int64 bytes of each mask; 0 where there is none.
    """

    def __init__(self, source: Union[str, bytes], starts: np.ndarray,
                 lengths: np.ndarray) -> None:
        self.source = source
        self.starts = starts
        self.lengths = lengths
        self._stamp = None
        self._file: Optional[int] = None
        if isinstance(source, str):
            self._stamp = self._open()

    def _open(self) -> Tuple[int, int]:
        try:
            self._file = os.open(self.source, os.O_RDONLY)
        except OSError as error:
            raise ValueError(f'cannot read the masks of "{self.source}": '
                             f'{error.strerror}; leave the file where it is '
                             f'while it is in use') from error
        return self._now()

    def _now(self) -> Tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _file=None)

    def __del__(self) -> None:
        if getattr(self, '_file', None) is not None:
            os.close(self._file)

    def raw(self, index: int) -> bytes:
        """Read one mask.

        Args:
            index: Of the annotation.

        Returns:
            JSON text; empty where the annotation has none.

        Raises:
            ValueError: If the file was written to since it was read.
        """
        start, length = int(self.starts[index]), int(self.lengths[index])
        if isinstance(self.source, bytes):
            return self.source[start:start + length]
        self._check_unchanged()
        return os.pread(self._file, length, start)

    def scan(self, indices: Sequence[int]) -> Iterator[bytes]:
        """Read many masks, mapping the file once.

        Args:
            indices: Of the annotations.

        Yields:
            As ``raw``.
        """
        data = self.source
        if not isinstance(data, bytes) and len(indices):
            self._check_unchanged()
            data = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        starts = self.starts[indices].tolist()
        for start, length in zip(starts, self.lengths[indices].tolist()):
            yield data[start:start + length]

    def _check_unchanged(self) -> None:
        if self._file is None:
            self._open()
        if self._now() != self._stamp:
            raise ValueError(
                f'"{self.source}" was changed while it was in use; start '
                f'again, and write new versions of a file that is being '
                f'trained on under another name')

    def load(self, index: int) -> Union[list, dict]:
        """Decode one mask for the host's pipeline.

        Args:
            index: Of the annotation.

        Returns:
            Polygons as lists of x and y, an RLE dict, or an empty list.
        """
        raw = self.raw(index)
        if mask_kind(raw) == NONE:
            return []
        return msgspec.json.decode(raw)


def mask_kind(raw: Any) -> Optional[int]:
    """Tell what a ``segmentation`` is from its first byte.

    Args:
        raw: JSON text without space around it, as bytes or a view.

    Returns:
        ``NONE``, ``POLYGONS`` or ``RLE``; None for anything else.
    """
    kind = _FIRST.get(bytes(raw[:1]))
    return NONE if kind == POLYGONS and raw[1:2] == b']' else kind


def mask_kinds(data: Any, starts: np.ndarray,
               lengths: np.ndarray) -> np.ndarray:
    """Tell what masks are, as ``mask_kind`` does for one.

    Args:
        data: The bytes that hold them.
        starts: (M,) int64, first byte of each.
        lengths: (M,) int64 bytes of each.

    Returns:
        (M,) int8 ``NONE``, ``POLYGONS``, ``RLE`` or ``OTHER``.
    """
    table = np.full(256, OTHER, np.int8)
    for first, kind in _FIRST.items():
        table[list(first)] = kind
    code = np.frombuffer(data, np.uint8)
    kinds = table[code[starts]]
    second = code[np.minimum(starts + 1, len(code) - 1)]
    kinds[(kinds == POLYGONS) & (second == ord(']'))] = NONE
    kinds[lengths == 0] = NONE
    return kinds


def mask_fault(raw: bytes, size: Tuple[int, int]) -> Optional[str]:
    """Find what is wrong with a mask, without building its numbers.

    Args:
        raw: JSON text of a ``segmentation``.
        size: (height, width) of the image.

    Returns:
        None for a mask that can be trained and evaluated, else the fault.
    """
    kind = mask_kind(raw)
    if kind == NONE:
        return MISSING + 'mask'
    if kind == POLYGONS:
        return _polygon_fault(raw)
    return 'is not a mask' if kind is None else _rle_fault(raw, size)


def _polygon_fault(raw: bytes) -> Optional[str]:
    marks = raw.translate(None, _NUMBERS)
    commas = len(marks) - 4
    if marks[:2] == b'[[' and marks[2:] == b',' * commas + b']]':
        numbers = [commas + 1]  # one polygon, the usual case
    else:
        try:
            numbers = [len(part) for part in _POLYGON_DECODER.decode(raw)]
        except msgspec.DecodeError:
            return 'is not a list of polygons, each a list of x and y'
    shape = raw.translate(_SHAPE)
    if (_LONG in shape or b'e' in shape) and _reaches_far(raw):
        return (f'has a point more than {_FAR} pixels away; write x and y in '
                f'pixels')
    if any(n >= _TRIANGLE and n % 2 == 0 for n in numbers):
        return None
    return MISSING + 'polygon of three points or more'


def _reaches_far(raw: bytes) -> bool:
    try:
        polygons = _POLYGON_DECODER.decode(raw)
    except msgspec.DecodeError:  # not even a float
        return True
    return any(abs(v) >= _FAR for polygon in polygons for v in polygon)


def _rle_fault(raw: bytes, size: Tuple[int, int]) -> Optional[str]:
    try:
        rle = _RLE_DECODER.decode(raw)
    except msgspec.DecodeError as error:
        return f'is an RLE whose "size" or "counts" are not right ({error})'
    if tuple(rle.size) != tuple(size):
        return (f'is an RLE of (height, width) {tuple(rle.size)} in an image '
                f'of {tuple(size)}')
    is_text = isinstance(rle.counts, str)
    if is_text:
        pixels = int(rle_pixels([rle.counts.encode(errors='replace')])[0])
    else:
        pixels = sum(rle.counts) if min(rle.counts, default=0) >= 0 else -1
    if pixels != size[0] * size[1]:
        return (f'is an RLE that does not describe the {size[0]} x {size[1]} '
                f'pixels of its image')
    if is_text and mask_area(dict(size=size, counts=rle.counts), size):
        return None
    if not is_text and sum(rle.counts[1::2]):
        return None
    return MISSING + 'pixel: its RLE is empty'


def mask_area(mask: Union[list, dict], size: Tuple[int, int]) -> float:
    """Count the pixels of a mask.

    Args:
        mask: Polygons or RLE.
        size: (height, width) of the image.

    Returns:
        The number of pixels.
    """
    return float(mask_utils.area(to_rle(mask, size)))


def to_rle(mask: Union[list, dict], size: Tuple[int, int]) -> dict:
    """Turn a mask of the file into one compressed RLE.

    Args:
        mask: Polygons or RLE without a fault; polygons of less than three
            points are left out, as the host does.
        size: (height, width) of the image.

    Returns:
        ``size`` and ``counts`` of pycocotools.
    """
    if isinstance(mask, list):
        return mask_utils.merge(
            mask_utils.frPyObjects(usable_polygons(mask), *size))
    if isinstance(mask['counts'], list):
        return mask_utils.frPyObjects(mask, *size)
    return mask


def usable_polygons(polygons: List[list]) -> List[list]:
    """Leave out what the host leaves out: less than three points."""
    return [p for p in polygons if len(p) >= _TRIANGLE and len(p) % 2 == 0]
