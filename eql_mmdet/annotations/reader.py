"""The one reader of annotation files: columns, checked and shared."""
import mmap
import os
import stat
from collections import Counter
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import (Any, Dict, Iterable, List, NamedTuple, Optional, Tuple,
                    Union)

import numpy as np

from .findings import Finding
from .masks import MISSING, NONE, MaskStore, mask_area, mask_fault, mask_kind
from .records import FileRecord, decode

#: Files that a process keeps: training, validation, test, and one more.
KEPT = 4
#: The host corrects a typing error of LVIS v0.5 and v1.
_ALIASES = {'speaker_(stereo_equipment)': 'speaker_(stero_equipment)'}
#: Whole floats above this are not exact.
_EXACT = 2**53
#: Pixels that no side of an image has, and no box or area.
_LONGEST, _LARGEST = 10**6, 10**18


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


class Annotations:
    """What a COCO or LVIS file says: K categories, N images, M objects.

    Objects of images that are not listed are left out; all others are here,
    in the order of the file. Not to be changed: it is shared.

    Attributes:
        path: The file, for messages.
        categories: K categories.
        images: N images.
        is_test_set: Whether the file has no ``annotations`` at all.
        ids: (M,) annotation ids, None where the file has none.
        places: (M,) number of each object in the file, for messages.
        image: (M,) int32, position of each object's image.
        category: (M,) int32, position of each object's category.
        boxes: (M, 4) float64 x, y, width, height in pixels.
        areas: (M,) float64 pixels, as the file has them, or of the mask, or
            of the box.
        is_crowd: (M,) bool.
        is_ignored: (M,) bool, the file says ``ignore``.
        mask_kinds: (M,) int8: ``NONE``, ``POLYGONS`` or ``RLE``.
        findings: What is odd about the file and refused by nobody.
    """

    def __init__(self, record: FileRecord, path: str,
                 source: Union[str, bytes], data: bytes) -> None:
        self.path = path
        self.findings: List[Finding] = []
        self.categories = _categories(record, path)
        self.images = _images(record, path, self.categories)
        self._tell_same_files()
        self.is_test_set = record.annotations is None
        self._fill(record.annotations or [], source, data)

    def _fill(self, objects: list, source: Union[str, bytes],
              data: bytes) -> None:
        number = np.arange(len(objects))
        position = {item.id: i for i, item in enumerate(self.images)}
        image = _positions(objects, 'image_id', position, number, self.path)
        listed = image >= 0
        self._tell_unlisted(objects, listed)
        kept = objects
        if not listed.all():
            kept = [item for item, ok in zip(objects, listed) if ok]
        self.places = number[listed]
        self.image = image[listed].astype(np.int32)
        self.category = self._category_positions(kept)
        self.ids = _object_ids(kept, self.places, self.path)
        self.boxes = self._numbers(kept, 'bbox', None).reshape(-1, 4)
        self.is_crowd = np.array([bool(item.iscrowd) for item in kept], bool)
        self.is_ignored = np.array([bool(item.ignore) for item in kept], bool)
        self.masks = _mask_store(kept, source, data)
        self.mask_kinds = self._kinds(kept)
        self.areas = self._areas(kept)
        order = np.argsort(self.image, kind='stable')
        self._order = order.astype(np.int32)
        self._ends = np.cumsum(np.bincount(self.image, minlength=self.count))

    def __deepcopy__(self, memo: dict) -> 'Annotations':
        return self

    @property
    def count(self) -> int:
        """N, the number of images."""
        return len(self.images)

    @property
    def names(self) -> Tuple[str, ...]:
        """K category names in the order of the file."""
        return tuple(category.name for category in self.categories)

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) int64 height and width of the images."""
        return np.array([(item.height, item.width) for item in self.images],
                        np.int64).reshape(-1, 2)

    def objects_of(self, image: int) -> np.ndarray:
        """List the objects of an image in the order of the file.

        Args:
            image: Its position, 0 to N - 1.

        Returns:
            (n,) positions of objects.
        """
        begin = self._ends[image - 1] if image else 0
        return self._order[begin:self._ends[image]]

    def load_mask(self, index: int) -> Union[list, dict]:
        """Read the mask of an object.

        Args:
            index: Position of the object.

        Returns:
            Polygons, an RLE dict, or an empty list.
        """
        return self.masks.load(index)

    def place(self, index: int) -> str:
        """Name an object for messages: ``annotations[4] (id 17)``."""
        known = '' if self.ids[index] is None else f' (id {self.ids[index]})'
        return f'annotations[{self.places[index]}]{known}'

    @cached_property
    def mask_faults(self) -> Dict[int, str]:
        """Object -> what is wrong with what it has as a mask; read once."""
        sizes = [(item.height, item.width) for item in self.images]
        given = np.flatnonzero(self.mask_kinds != NONE)
        faults = ((i, mask_fault(raw, sizes[image]))
                  for i, image, raw in zip(given.tolist(), self.image[given].
                                           tolist(), self.masks.scan(given)))
        return {index: fault for index, fault in faults if fault}

    def has_mask(self) -> np.ndarray:
        """Mark the objects that have a mask.

        Returns:
            (M,) bool.

        Raises:
            ValueError: If a mask is damaged; it names the place.
        """
        there = self.mask_kinds != NONE
        for index, fault in self.mask_faults.items():
            if not fault.startswith(MISSING):
                raise ValueError(
                    f'{self.path}: the mask of {self.place(index)} {fault}; '
                    f'export or write it again')
            there[index] = False
        return there

    def first_without_mask(self, objects: np.ndarray) -> Optional[str]:
        """Find an object that has no mask to be compared with.

        Args:
            objects: (M,) bool, the objects to look at.

        Returns:
            Its place and what is wrong; None if all of them have a mask.
        """
        wrong = self.mask_kinds == NONE
        wrong[list(self.mask_faults)] = True
        wrong &= objects
        if not wrong.any():
            return None
        index = int(np.argmax(wrong))
        fault = self.mask_faults.get(index, 'has no mask')
        return f'{self.place(index)} {fault}'

    def label_map(self, classes: Optional[Iterable[str]]) -> np.ndarray:
        """Map categories to labels by name.

        Args:
            classes: Names in label order; a part of the categories will do.
                By default all categories in the order of the file.

        Returns:
            (K,) int64 label of each category; -1 for those not chosen.

        Raises:
            TypeError: If ``classes`` is not a sequence of names.
            ValueError: If the file lacks a name, or one is given twice.
        """
        if classes is None:
            return np.arange(len(self.categories))
        names = check_names(classes)
        position = {name: i for i, name in enumerate(self.names)}
        names = check_names(
            n if n in position else _ALIASES.get(n, n) for n in names)
        unknown = [name for name in names if name not in position]
        if unknown:
            raise ValueError(
                f'{_quote(unknown[:5])} {"is" if len(unknown) == 1 else "are"}'
                f' not among the {len(position)} categories of {self.path}: '
                f'{_quote(self.names[:20])}'
                f'{", ..." if len(position) > 20 else ""}; correct the name '
                f'in "classes" or in the file')
        labels = np.full(len(position), -1)
        labels[[position[name] for name in names]] = np.arange(len(names))
        return labels

    def _tell_unlisted(self, objects: list, listed: np.ndarray) -> None:
        lost = np.flatnonzero(~listed)
        if len(lost):
            first = int(lost[0])
            self.findings.append(
                Finding(
                    f'{len(lost)} of {len(listed)} annotations belong to '
                    f'images that are not listed, and are left out',
                    f'annotations[{first}].image_id is '
                    f'{objects[first].image_id}',
                    'nothing to do if you took these images out; else the '
                    'images and annotations are of different exports'))

    def _tell_same_files(self) -> None:
        seen, same = set(), []
        for number, image in enumerate(self.images):
            if image.file_name and image.file_name in seen:
                same.append(number)
            seen.add(image.file_name)
        if same:
            self.findings.append(
                Finding(
                    f'{len(same)} of {self.count} images have the file_name '
                    f'of another one',
                    f'images[{same[0]}] "{self.images[same[0]].file_name}"',
                    'merge their annotations: what is annotated in one is '
                    'background in the other'))

    def _category_positions(self, objects: list) -> np.ndarray:
        position = {item.id: k for k, item in enumerate(self.categories)}
        category = _positions(objects, 'category_id', position, self.places,
                              self.path)
        wrong = np.flatnonzero(category < 0)
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(
                f'{self.path}: annotations[{self.places[first]}] (id '
                f'{objects[first].id}) has category '
                f'{objects[first].category_id}, which is not among the '
                f'{len(self.categories)} categories of the file ('
                f'{len(wrong)} such annotations); add the category, or take '
                f'its annotations out')
        return category.astype(np.int32)

    def _kinds(self, objects: list) -> np.ndarray:
        kinds = [mask_kind(memoryview(o.segmentation)) for o in objects]
        if None in kinds:
            index = kinds.index(None)
            raise ValueError(
                f'{self.path}: {self.place(index)}.segmentation must be a '
                f'list of polygons or an RLE, but is '
                f'{bytes(objects[index].segmentation)[:40].decode()}; export '
                f'it again')
        return np.array(kinds, np.int8)

    def _numbers(self, objects: list, field: str, missing: Any) -> np.ndarray:
        """Put a field into an array; refuse what cannot be in pixels."""
        values = [getattr(item, field) for item in objects]
        values = [missing if value is None else value for value in values]
        try:
            numbers = np.array(values, np.float64)
        except OverflowError:
            numbers = np.array(values, object)
        wrong = np.abs(numbers) > _LARGEST
        if wrong.any():
            index = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
            raise ValueError(
                f'{self.path}: annotations[{self.places[index]}].{field} must '
                f'be in pixels, but is {str(values[index])[:40]}; export it '
                f'again')
        return numbers

    def _areas(self, objects: list) -> np.ndarray:
        """Take the areas of the file, or else those of masks and boxes."""
        areas = self._numbers(objects, 'area', np.nan)
        for index in np.flatnonzero(np.isnan(areas)).tolist():
            image = self.images[self.image[index]]
            size = image.height, image.width
            if mask_fault(self.masks.raw(index), size) is None:
                areas[index] = mask_area(self.load_mask(index), size)
            if not areas[index] > 0:  # unknown, or thinner than a pixel
                areas[index] = self.boxes[index, 2:].clip(0).prod()
        return areas


def read_annotations(path: Union[str, os.PathLike]) -> Annotations:
    """Read a COCO or LVIS file, once a process.

    Args:
        path: A local JSON file.

    Returns:
        What it says; the same object as long as the file is the same.

    Raises:
        ValueError: If it cannot be read, is damaged, or says something that
            would make a training or an evaluation silently wrong; it names
            the file, the place and what to do.
    """
    path = os.fspath(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not os.path.isdir(path):
            raise OSError('it is no regular file, which masks are read from')
        return _read(path, os.path.realpath(path), status.st_mtime_ns,
                     status.st_size)
    except OSError as error:
        raise ValueError(f'cannot read the annotation file "{path}": '
                         f'{error.strerror or error}') from error


@lru_cache(maxsize=KEPT)
def _read(path: str, real_path: str, *stamp: int) -> Annotations:
    with open(real_path, 'rb') as file:
        if not os.fstat(file.fileno()).st_size:
            return parse_annotations(b'', path)
        # Mapped, not read: its memory is the system's, once for all ranks.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return parse_annotations(data, path, real_path)


def parse_annotations(data: Union[bytes, mmap.mmap],
                      name: str,
                      local_path: Optional[str] = None) -> Annotations:
    """Take apart what an annotation file holds.

    Args:
        data: JSON text.
        name: Of the file, for messages.
        local_path: Where the same bytes can be read again; by default they
            are kept in memory for the masks.

    Returns:
        What it says.

    Raises:
        ValueError: As for :func:`read_annotations`.
    """
    record, decoded = decode(data, name)
    source = local_path if local_path and decoded is data else bytes(decoded)
    return Annotations(record, name, source, decoded)


def check_names(classes: Iterable[str]) -> Tuple[str, ...]:
    """Refuse what is not a sequence of different names.

    Args:
        classes: Names in label order.

    Returns:
        The same as a tuple.

    Raises:
        TypeError: If it is a plain string or holds anything but strings.
        ValueError: If it is empty or a name stands twice.
    """
    if isinstance(classes, str):
        raise TypeError(f'classes must be a tuple or list of names, but is '
                        f'the string "{classes}"; write ("{classes}", ) for '
                        f'a single class')
    names = tuple(classes)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f'classes must be names, but are {names[:5]}')
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice or not names:
        raise ValueError(f'classes must be different names, at least one, '
                         f'but {_quote(twice) or "there is none"}'
                         f'{" stands twice" if twice else ""}')
    return names


def _categories(record: FileRecord, path: str) -> List[Category]:
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


def _images(record: FileRecord, path: str,
            categories: List[Category]) -> List[Image]:
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
    if not items:
        raise ValueError(f'{path}: "images" is empty; an annotation file '
                         f'lists the images of its set')
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


def _side(value: Union[int, float], place: str) -> int:
    side = _whole(value, place)
    if not 1 <= side <= _LONGEST:
        raise ValueError(f'{place} must be 1 to {_LONGEST} pixels, but is '
                         f'{str(side)[:20]}; write the size of the image')
    return side


def _check_ids(items: List[Tuple[int, str]], kind: str, path: str) -> None:
    if len({id_ for id_, _ in items}) == len(items):
        return
    first = {}
    for number, (id_, text) in enumerate(items):
        if id_ in first:
            before, other = first[id_]
            raise ValueError(
                f'{path}: the id {id_} stands twice among the {kind}: '
                f'{kind}[{before}] is {other}, {kind}[{number}] is {text}; '
                f'number them anew when files are merged')
        first[id_] = number, text


def _positions(objects: list, field: str, position: Dict[int, int],
               places: np.ndarray, path: str) -> np.ndarray:
    """Look up the position that a field of each object points to, or -1."""
    ids = list(map(attrgetter(field), objects))
    if float in set(map(type, ids)):
        for place, id_ in zip(places, ids):
            _whole(id_, f'{path}: annotations[{place}].{field}')
    return np.fromiter((position.get(i, -1) for i in ids), np.int64, len(ids))


def _object_ids(objects: list, places: np.ndarray, path: str) -> np.ndarray:
    ids = [item.id for item in objects]
    if float in set(map(type, ids)):
        ids = [
            i if i is None else _whole(i, f'{path}: annotations[{place}].id')
            for i, place in zip(ids, places)
        ]
    given = [i for i in ids if i is not None]
    if len(set(given)) < len(given):
        _check_ids([(i, f'of image {item.image_id}')
                    for i, item in zip(ids, objects) if i is not None],
                   'annotations', path)
    try:
        # New memory, so that all of the records can be given back.
        return np.array(ids, np.int64)
    except (TypeError, OverflowError):  # none, or larger ones
        return np.array(ids, object)


def _mask_store(objects: list, source: Union[str, bytes],
                data: bytes) -> MaskStore:
    """Note where each mask is, from the memory that its bytes point to."""

    def address(part: Any) -> int:
        return np.frombuffer(part, np.uint8).__array_interface__['data'][0]

    raws = [item.segmentation for item in objects]
    lengths = np.fromiter((memoryview(raw).nbytes for raw in raws), np.int64,
                          len(raws))
    base = address(data)
    starts = np.fromiter(
        (address(raw) - base if n else 0 for raw, n in zip(raws, lengths)),
        np.int64, len(raws))
    return MaskStore(source, starts, lengths)


def _quote(names: Iterable[str]) -> str:
    return ', '.join(f'"{name}"' for name in names)
