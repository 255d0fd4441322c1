"""What an annotation file says, checked when it is built."""
from functools import cached_property
from typing import Dict, Iterable, List, Optional, Tuple, Union

import numpy as np

from .columns import ObjectColumns, object_columns, positions
from .entries import check_whole, read_categories, read_images, read_object_ids
from .findings import Finding
from .masks import (MISSING, NONE, OTHER, MaskStore, mask_area, mask_fault,
                    mask_kinds)
from .names import canonical, check_names, quote
from .records import FileRecord


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
        self.categories = read_categories(record, path)
        self.images = read_images(record, path, self.categories)
        self._tell_same_files()
        self.is_test_set = record.annotations is None
        self._fill(record.annotations or [], source, data)

    def _fill(self, raws: list, source: Union[str, bytes],
              data: bytes) -> None:
        columns = object_columns(raws, data, self.path)
        for name in ('image_ids', 'category_ids'):
            check_whole(
                getattr(columns, name), range(len(raws)), name[:-1], self.path)
        image = positions(columns.image_ids, [i.id for i in self.images])
        listed = image >= 0
        self._tell_unlisted(columns, listed)
        self.places = np.flatnonzero(listed)
        self.image = image[listed].astype(np.int32)
        if not listed.all():
            columns = columns.take(listed)
        self.category = self._category_positions(columns)
        self.ids = read_object_ids(columns, self.places, self.path)
        self.boxes = columns.boxes
        self.is_crowd = columns.is_crowd
        self.is_ignored = columns.is_ignored
        self.masks = MaskStore(source, columns.starts, columns.lengths)
        self.mask_kinds = self._kinds(data)
        self.areas = self._areas(columns.areas)
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
        given = np.flatnonzero(self.mask_kinds != NONE).tolist()
        faults = ((i, mask_fault(raw, sizes[self.image[i]]))
                  for i, raw in zip(given, self.masks.scan(given)))
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
            n if n in position else canonical([n])[0] for n in names)
        unknown = [name for name in names if name not in position]
        if unknown:
            raise ValueError(
                f'{quote(unknown[:5])} {"is" if len(unknown) == 1 else "are"}'
                f' not among the {len(position)} categories of {self.path}: '
                f'{quote(self.names[:20])}'
                f'{", ..." if len(position) > 20 else ""}; correct the name '
                f'in "classes" or in the file')
        labels = np.full(len(position), -1)
        labels[[position[name] for name in names]] = np.arange(len(names))
        return labels

    def _tell_unlisted(self, columns: ObjectColumns,
                       listed: np.ndarray) -> None:
        lost = np.flatnonzero(~listed)
        if len(lost):
            first = int(lost[0])
            self.findings.append(
                Finding(
                    f'{len(lost)} of {len(listed)} annotations belong to '
                    f'images that are not listed, and are left out',
                    f'annotations[{first}].image_id is '
                    f'{columns.image_ids[first]}',
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

    def _category_positions(self, columns: ObjectColumns) -> np.ndarray:
        category = positions(columns.category_ids,
                             [item.id for item in self.categories])
        wrong = np.flatnonzero(category < 0)
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(
                f'{self.path}: annotations[{self.places[first]}] (id '
                f'{columns.ids[first]}) has category '
                f'{columns.category_ids[first]}, which is not among the '
                f'{len(self.categories)} categories of the file ('
                f'{len(wrong)} such annotations); add the category, or take '
                f'its annotations out')
        return category.astype(np.int32)

    def _kinds(self, data: bytes) -> np.ndarray:
        kinds = mask_kinds(data, self.masks.starts, self.masks.lengths)
        if (kinds == OTHER).any():
            index = int(np.argmax(kinds == OTHER))
            raise ValueError(
                f'{self.path}: {self.place(index)}.segmentation must be a '
                f'list of polygons or an RLE, but is '
                f'{self.masks.raw(index)[:40].decode()}; export it again')
        return kinds

    def _areas(self, areas: np.ndarray) -> np.ndarray:
        """Take the areas of the file, or else those of masks and boxes."""
        for index in np.flatnonzero(np.isnan(areas)).tolist():
            image = self.images[self.image[index]]
            size = image.height, image.width
            if mask_fault(self.masks.raw(index), size) is None:
                areas[index] = mask_area(self.load_mask(index), size)
            if not areas[index] > 0:  # unknown, or thinner than a pixel
                areas[index] = self.boxes[index, 2:].clip(0).prod()
        return areas
