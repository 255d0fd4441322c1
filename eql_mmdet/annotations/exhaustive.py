"""COCO files in the terms of LVIS: every category is checked everywhere."""
import copy
from typing import Iterable, List, Mapping, Optional, Set

import numpy as np

from .annotations import Annotations
from .category_counts import frequency_group
from .lvis_index import LVISIndex, lvis_index
from .reader import read_annotations


def as_lvis(annotations: Annotations,
            image_counts: Optional[Mapping[str, int]] = None) -> Annotations:
    """Give a COCO file what an LVIS file would say of the same set.

    Every category is known to be absent where it is not annotated. What is
    found where there is a crowd is ignored, in COCO if it lies in the crowd,
    here if it is of its category.

    Args:
        annotations: A file without the fields of LVIS.
        image_counts: Category name -> training images, which decide the
            frequency groups; those of this file by default.

    Returns:
        Another view of the same objects.
    """
    counts = _image_counts(annotations)
    if image_counts is not None:
        counts = [image_counts.get(name, 0) for name in annotations.names]
    crowded: List[Set[int]] = [set() for _ in annotations.images]
    for index in np.flatnonzero(annotations.is_crowd).tolist():
        crowded[annotations.image[index]].add(int(annotations.category[index]))
    everything = tuple(range(len(annotations.categories)))
    view = copy.copy(annotations)
    view.images = [
        image._replace(
            negative=everything, not_exhaustive=tuple(sorted(crowds)))
        for image, crowds in zip(annotations.images, crowded)
    ]
    view.categories = [
        category._replace(
            frequency=frequency_group(count), image_count=int(count))
        for category, count in zip(annotations.categories, counts)
    ]
    view.areas = np.where(annotations.is_crowd, 0, annotations.areas)
    view.is_crowd = view.is_ignored = np.zeros_like(annotations.is_crowd)
    return view


def _image_counts(annotations: Annotations) -> List[int]:
    pairs = np.unique(
        np.stack([annotations.image, annotations.category]), axis=1)
    return np.bincount(
        pairs[1], minlength=len(annotations.categories)).tolist()


def load_any_index(
        path: str,
        classes: Optional[Iterable[str]] = None,
        image_counts: Optional[Mapping[str, int]] = None) -> LVISIndex:
    """Read and index a file in LVIS or COCO format.

    Args:
        path: The annotation file.
        classes: Names in label order; by default all categories in the order
            of the file.
        image_counts: As for :func:`as_lvis`; LVIS files have groups of
            their own.

    Returns:
        The index.

    Raises:
        ValueError: As for :func:`lvis_index`: a file that has some fields of
            LVIS must have them all.
    """
    annotations = read_annotations(path)
    if not (annotations.is_test_set or has_lvis_fields(annotations)):
        annotations = as_lvis(annotations, image_counts)
    return lvis_index(annotations, classes)


def has_lvis_fields(annotations: Annotations) -> bool:
    """Tell whether a file has any field that only LVIS has.

    Args:
        annotations: The file.

    Returns:
        False for files in COCO format.
    """
    return any(c.frequency is not None for c in annotations.categories) or any(
        i.negative is not None or i.not_exhaustive is not None
        for i in annotations.images)
