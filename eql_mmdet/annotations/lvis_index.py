"""What the LVIS protocol must know of a file: who was checked, and where."""
from dataclasses import dataclass
from functools import cached_property
from typing import Dict, Iterable, List, Optional, Tuple

import numpy as np

from .annotations import Annotations
from .category_counts import GROUPS
from .reader import read_annotations

_COCO = 'for COCO files use COCOEvalMetric'


@dataclass(frozen=True)
class LVISIndex:
    """Categories, images and checked categories of an LVIS file.

    Labels number the chosen categories; evaluators have them in another
    order, by id, and number images by id too. Inside an evaluation only
    these small numbers occur, so that ids of any size are exact.

    Attributes:
        annotations: The file.
        rows: (K,) position of each label's category in the file.
        columns: (K,) place of each label among the ids of the K categories.
        image_ranks: Image id -> its place among all image ids.
        checked: Image id -> labels that are annotated or known to be absent;
            detections of any other category cannot count.
        an_annotated: Image id -> one annotated label, for class-agnostic
            recall; images without annotations are missing.
        objects: (M,) bool, the objects that lvis sees: of the chosen
            categories, with an area.
    """
    annotations: Annotations
    rows: np.ndarray
    columns: np.ndarray
    image_ranks: Dict[int, int]
    checked: Dict[int, np.ndarray]
    an_annotated: Dict[int, int]
    objects: np.ndarray

    @property
    def path(self) -> str:
        """The file, for messages."""
        return self.annotations.path

    @cached_property
    def names(self) -> List[str]:
        """K names in label order."""
        return [self.annotations.categories[row].name for row in self.rows]

    @cached_property
    def category_ids(self) -> List[int]:
        """K ids of the file in label order."""
        return [self.annotations.categories[row].id for row in self.rows]

    @cached_property
    def label_of(self) -> Dict[int, int]:
        """Category id of the file -> label."""
        return {id_: label for label, id_ in enumerate(self.category_ids)}

    @property
    def frequencies(self) -> List[str]:
        """K letters of ``'rcf'`` in label order."""
        return [
            self.annotations.categories[row].frequency for row in self.rows
        ]

    @property
    def image_counts(self) -> List[int]:
        """K numbers of training images that the file states; -1: none."""
        return [
            self.annotations.categories[row].image_count for row in self.rows
        ]

    @property
    def instance_counts(self) -> np.ndarray:
        """(K,) ground truths in this file."""
        category = self.annotations.category[self.objects]
        return np.bincount(
            category, minlength=len(self.annotations.categories))[self.rows]

    @cached_property
    def sizes(self) -> Dict[int, Tuple[int, int]]:
        """Image id -> (height, width) in pixels."""
        return {
            image.id: (image.height, image.width)
            for image in self.annotations.images
        }

    @cached_property
    def first_without_mask(self) -> Optional[str]:
        """Place and fault of the first object without a mask, if any."""
        return self.annotations.first_without_mask(self.objects)

    def by_column(self) -> np.ndarray:
        """(K,) labels in the order of the evaluators."""
        return np.argsort(self.columns)

    def sorted_frequencies(self) -> List[str]:
        """The letters in the order of the evaluators."""
        frequencies = self.frequencies
        return [frequencies[label] for label in self.by_column()]


def lvis_index(annotations: Annotations,
               classes: Optional[Iterable[str]] = None,
               ground_truth: bool = True) -> LVISIndex:
    """Check that a file follows the LVIS format, and index it.

    Args:
        annotations: The file.
        classes: Names in label order; by default all categories in the order
            of the file.
        ground_truth: Whether predictions will be compared with it. If not,
            annotations and negative categories may be missing, as in the
            files of LVIS test sets.

    Returns:
        The index.

    Raises:
        ValueError: If the file holds something that would make an evaluation
            silently wrong, or lacks a class; it names the place.
    """
    _check_categories(annotations)
    if ground_truth:
        _check_ground_truth(annotations)
    label_map = annotations.label_map(classes)
    rows = np.argsort(label_map, kind='stable')[(label_map < 0).sum():]
    ids = [annotations.categories[row].id for row in rows]
    ranks = {id_: rank for rank, id_ in enumerate(sorted(ids))}
    image_ids = sorted(image.id for image in annotations.images)
    objects = (annotations.areas > 0) & (label_map[annotations.category] >= 0)
    checked, an_annotated = _checked(annotations, label_map, rows, objects)
    return LVISIndex(
        annotations=annotations,
        rows=rows,
        columns=np.array([ranks[id_] for id_ in ids], np.int64),
        image_ranks={
            id_: rank
            for rank, id_ in enumerate(image_ids)
        },
        checked=checked,
        an_annotated=an_annotated,
        objects=objects)


def is_lvis(annotations: Annotations) -> bool:
    """Tell LVIS format from COCO format.

    Args:
        annotations: The file.

    Returns:
        Whether categories have frequency groups and images negative sets,
        not whether all do: :func:`lvis_index` checks that.
    """
    return any(c.frequency is not None
               for c in annotations.categories) and any(
                   image.negative is not None for image in annotations.images)


def has_lvis_fields(annotations: Annotations) -> bool:
    """Tell whether a file has any field that only LVIS has.

    Args:
        annotations: The file.

    Returns:
        False for files in COCO format; True for half an LVIS file too, which
        is neither.
    """
    return any(c.frequency is not None for c in annotations.categories) or any(
        i.negative is not None or i.not_exhaustive is not None
        for i in annotations.images)


def load_index(path: str,
               classes: Optional[Iterable[str]] = None,
               ground_truth: bool = True) -> LVISIndex:
    """Read, check and index an LVIS file; see :func:`lvis_index`."""
    return lvis_index(read_annotations(path), classes, ground_truth)


def _check_categories(annotations: Annotations) -> None:
    for k, category in enumerate(annotations.categories):
        if category.frequency not in GROUPS:
            raise ValueError(
                f'{annotations.path}: categories[{k}].frequency must be r, c '
                f'or f, but is {category.frequency!r}; {_COCO}')


def _check_ground_truth(annotations: Annotations) -> None:
    path = annotations.path
    if annotations.is_test_set:
        raise ValueError(f'{path} has no "annotations": nothing can be '
                         f'evaluated on it; set format_only=True to write a '
                         f'submission')
    for field, name in (('negative', 'neg_category_ids'),
                        ('not_exhaustive', 'not_exhaustive_category_ids')):
        for i, image in enumerate(annotations.images):
            if getattr(image, field) is None:
                raise ValueError(
                    f'{path}: images[{i}].{name} is missing, so this is not '
                    f'an LVIS file; {_COCO}')
    marked = annotations.is_crowd | annotations.is_ignored
    if marked.any():
        raise ValueError(
            f'{path}: {annotations.place(int(np.argmax(marked)))} is marked '
            f'"iscrowd" or "ignore", which LVIS does not have ('
            f'{marked.sum()} such annotations); take the mark or the '
            f'annotation out, or {_COCO}')


def _checked(annotations: Annotations, label_map: np.ndarray, rows: np.ndarray,
             objects: np.ndarray) -> Tuple[dict, dict]:
    checked, an_annotated = {}, {}
    for i, image in enumerate(annotations.images):
        mine = annotations.objects_of(i)
        own = annotations.category[mine[objects[mine]]]
        labels = label_map[np.union1d(own, image.negative
                                      or []).astype(np.int64)]
        checked[image.id] = np.sort(labels[labels >= 0])
        if len(own):
            # The one with the smallest id, as in lvis.
            an_annotated[image.id] = int(label_map[min(
                own.tolist(), key=lambda k: annotations.categories[k].id)])
    return checked, an_annotated
