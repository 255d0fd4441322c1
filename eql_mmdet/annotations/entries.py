"""Categories, images and ids of a file, checked one by one."""
from itertools import count
from typing import (Any, Dict, List, NamedTuple, Optional, Sequence, Tuple,
                    Union)

import numpy as np

from .columns import ObjectColumns
from .records import FileRecord

#: No image is as wide or high.
_WIDEST = 10**6
#: Whole floats above this are not exact.
_EXACT = 2**53


class Category(NamedTuple):
    """A category of an annotation file.

    Attributes:
        id: As in the file.
        name: As in the file.
        frequency: Its LVIS group as the file states it; None if it does not.
        image_count: Training images as the file states them; -1 if it does
            not.
    """
    id: int
    name: str
    frequency: Any
    image_count: int


class Image(NamedTuple):
    """An image of an annotation file.

    Attributes:
        id: As in the file.
        file_name: As in the file, or the end of its ``coco_url``.
        height: Pixels.
        width: Pixels.
        negative: Positions of categories known to be absent; None if the
            file does not say.
        not_exhaustive: Positions of categories of which not every object is
            annotated; None if the file does not say.
    """
    id: int
    file_name: Optional[str]
    height: int
    width: int
    negative: Optional[Tuple[int, ...]]
    not_exhaustive: Optional[Tuple[int, ...]]


def read_categories(record: FileRecord, path: str) -> List[Category]:
    """Check the categories of a file: ids and names stand once.

    Args:
        record: The file.
        path: Of it, for messages.

    Returns:
        K categories.

    Raises:
        ValueError: If there is none, or something is not right.
    """
    if not record.categories:
        raise ValueError(f'{path}: "categories" is empty; an annotation file '
                         f'lists what it annotates')
    items = []
    for k, item in enumerate(record.categories):
        count = item.image_count
        known = isinstance(count, int) and not isinstance(count, bool)
        items.append(
            Category(
                _whole(item.id, f'{path}: categories[{k}].id'), str(item.name),
                item.frequency, count if known else -1))
    _check_ids([(item.id, f'named "{item.name}"') for item in items],
               'categories', path)
    ids = {}
    for item in items:
        if item.name in ids:
            raise ValueError(
                f'{path}: categories {ids[item.name]} and {item.id} are both '
                f'named "{item.name}"; labels go by name: merge or rename '
                f'them')
        ids[item.name] = item.id
    return items


def read_images(record: FileRecord, path: str,
                categories: List[Category]) -> List[Image]:
    """Check the images of a file: ids stand once, sizes are pixels.

    Args:
        record: The file.
        path: Of it, for messages.
        categories: Of the file.

    Returns:
        N images.

    Raises:
        ValueError: If there is none, or something is not right.
    """
    if not record.images:
        raise ValueError(f'{path}: "images" is empty; an annotation file '
                         f'lists the images of its set')
    position = {item.id: k for k, item in enumerate(categories)}
    items = [
        Image(
            _whole(item.id, f'{path}: images[{i}].id'), _file_name(item),
            _side(item.height, f'{path}: images[{i}].height'),
            _side(item.width, f'{path}: images[{i}].width'),
            _known(item.neg_category_ids, position,
                   f'{path}: images[{i}].neg_category_ids'),
            _known(item.not_exhaustive_category_ids, position,
                   f'{path}: images[{i}].not_exhaustive_category_ids'))
        for i, item in enumerate(record.images)
    ]
    _check_ids([(item.id, f'"{item.file_name}"') for item in items], 'images',
               path)
    return items


def _file_name(item: Any) -> Optional[str]:
    """Name the file; LVIS v1 has only the address."""
    if item.file_name is None and isinstance(item.coco_url, str):
        # http://images.cocodataset.org/train2017/000000391895.jpg
        return '/'.join(item.coco_url.split('/')[-2:])
    return item.file_name


def _known(ids: Optional[list], position: Dict[int, int], place: str) -> Any:
    """Turn category ids into positions; unlisted ones are left out."""
    if ids is None:
        return None
    for number, id_ in enumerate(ids):
        if type(id_) is not int:
            _whole(id_, f'{place}[{number}]')
    return tuple(position[i] for i in ids if i in position)


def _whole(value: Union[int, float], place: str) -> int:
    if type(value) is int:
        return value
    if value != int(value) or abs(value) > _EXACT:
        rounded = ', a rounded one' if abs(value) > _EXACT else ''
        raise ValueError(f'{place} must be a whole number, but is {value!r}'
                         f'{rounded}; number images, categories and '
                         f'annotations with whole numbers')
    return int(value)


def check_whole(values: np.ndarray, places: np.ndarray, field: str,
                path: str) -> None:
    """Refuse what points to nothing because it is no whole number.

    Args:
        values: (M,) ids, as in ``ObjectColumns``.
        places: (M,) numbers of the objects in the file.
        field: Name of the field.
        path: Of the file, for messages.

    Raises:
        ValueError: If one is a fraction, or too large a float to be exact.
    """
    if values.dtype == object:
        for place, value in zip(places, values):
            _whole(value, f'{path}: annotations[{place}].{field}')


def _side(value: Union[int, float], place: str) -> int:
    side = _whole(value, place)
    if not 1 <= side < _WIDEST:
        raise ValueError(f'{place} must be from 1 to {_WIDEST - 1} pixels, '
                         f'but is {str(side)[:20]}; write the size of the '
                         f'image')
    return side


def _check_ids(items: List[Tuple[int, str]],
               kind: str,
               path: str,
               places: Optional[Sequence[int]] = None) -> None:
    if len({id_ for id_, _ in items}) == len(items):
        return
    first = {}
    for number, (id_, text) in zip(places or count(), items):
        if id_ in first:
            before, other = first[id_]
            raise ValueError(
                f'{path}: the id {id_} stands twice among the {kind}: '
                f'{kind}[{before}] is {other}, {kind}[{number}] is {text}; '
                f'number them anew when files are merged')
        first[id_] = number, text


def read_object_ids(columns: ObjectColumns, places: np.ndarray,
                    path: str) -> np.ndarray:
    """Check the ids of objects: whole numbers that stand once.

    Args:
        columns: The objects.
        places: (M,) their numbers in the file.
        path: Of the file, for messages.

    Returns:
        (M,) int64 ids; object where there are larger ones, or None.

    Raises:
        ValueError: If one is not right.
    """
    ids = columns.ids
    if ids.dtype == object:
        ids = np.array([
            i if i is None else _whole(i, f'{path}: annotations[{place}].id')
            for i, place in zip(ids, places)
        ], object)
        if len(set(ids)) == len(ids):
            return ids
    elif (np.diff(np.sort(ids)) > 0).all():
        return ids
    rows = [n for n, i in enumerate(ids) if i is not None]
    _check_ids([(ids[n], f'of image {columns.image_ids[n]}') for n in rows],
               'annotations', path, places[rows].tolist())
    return ids
