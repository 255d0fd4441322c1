"""The objects of a file as columns: a part of them in memory at a time."""
from typing import Any, List, NamedTuple, Sequence, Tuple

import msgspec
import numpy as np

from .records import ObjectRecord, decode_objects

#: Objects that are records at the same time.
PART = 20_000
#: Pixels that no box or area has.
LARGEST = 10**18


class ObjectColumns(NamedTuple):
    """All objects of a file, in its order.

    Attributes:
        image_ids: (M,) int64; object, if not all of them are such numbers.
        category_ids: (M,) the same.
        ids: (M,) the same; None where an object has none.
        boxes: (M, 4) float64 x, y, width, height.
        areas: (M,) float64; NaN where the file has none.
        is_crowd: (M,) bool.
        is_ignored: (M,) bool.
        starts: (M,) int64, first byte of each mask in the file.
        lengths: (M,) int64 bytes of each mask; 0 where there is none.
    """
    image_ids: np.ndarray
    category_ids: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray
    is_ignored: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def take(self, chosen: np.ndarray) -> 'ObjectColumns':
        """Choose objects, by a mask or by indices."""
        return ObjectColumns(*(column[chosen] for column in self))


def object_columns(raws: List[msgspec.Raw], data: Any,
                   name: str) -> ObjectColumns:
    """Read the objects of a file.

    Args:
        raws: JSON text of each, views of ``data``.
        data: What the file holds.
        name: Of the file, for messages.

    Returns:
        The columns.

    Raises:
        ValueError: If an object is not right; it names the place.
    """
    base = _address(data)
    parts = [
        _part(
            decode_objects(raws[first:first + PART], first, name), base, first,
            name) for first in range(0, max(len(raws), 1), PART)
    ]
    return ObjectColumns(*map(np.concatenate, zip(*parts)))


def _part(objects: List[ObjectRecord], base: int, first: int,
          name: str) -> ObjectColumns:
    starts, lengths = _mask_places(objects, base)
    return ObjectColumns(
        image_ids=_numbers([item.image_id for item in objects]),
        category_ids=_numbers([item.category_id for item in objects]),
        ids=_numbers([item.id for item in objects]),
        boxes=_pixels([item.bbox for item in objects], 'bbox', first,
                      name).reshape(-1, 4),
        areas=_pixels(
            [np.nan if item.area is None else item.area for item in objects],
            'area', first, name),
        is_crowd=np.array([bool(item.iscrowd) for item in objects], bool),
        is_ignored=np.array([bool(item.ignore) for item in objects], bool),
        starts=starts,
        lengths=lengths)


def _pixels(values: list, field: str, first: int, name: str) -> np.ndarray:
    """Put boxes or areas into an array; refuse what cannot be pixels."""
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        numbers = np.array(values, object)
    wrong = np.abs(numbers) > LARGEST
    if wrong.any():
        row = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
        raise ValueError(
            f'{name}: annotations[{first + row}].{field} must be in pixels, '
            f'but is {str(values[row])[:40]}; export it again')
    return numbers


def _numbers(values: list) -> np.ndarray:
    """Keep numbers exact: others than int64 stay what they are."""
    if set(map(type, values)) <= {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    return np.array(values, object)


def _mask_places(objects: List[ObjectRecord],
                 base: int) -> Tuple[np.ndarray, np.ndarray]:
    """Note where each mask is, from the memory that its bytes point to."""
    raws = [item.segmentation for item in objects]
    lengths = [memoryview(raw).nbytes for raw in raws]
    starts = [
        _address(raw) - base if n else 0 for raw, n in zip(raws, lengths)
    ]
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def _address(part: Any) -> int:
    return np.frombuffer(part, np.uint8).__array_interface__['data'][0]


def positions(values: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Look up where the items are that values point to.

    Args:
        values: (M,) ids, as in ``ObjectColumns``.
        ids: Of the items, all different.

    Returns:
        (M,) int64 place among ``ids``; -1 where there is none.
    """
    known = _numbers(list(ids))
    if values.dtype == object or known.dtype == object or not len(known):
        place = {id_: i for i, id_ in enumerate(ids)}
        return np.array([place.get(v, -1) for v in values.tolist()], np.int64)
    order = np.argsort(known)
    rank = np.searchsorted(known, values, sorter=order)
    place = order[rank.clip(max=len(known) - 1)]
    return np.where(known[place] == values, place, -1)
