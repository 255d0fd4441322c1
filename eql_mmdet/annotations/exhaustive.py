"""COCO files in the terms of LVIS: every category is checked everywhere."""
import copy
from typing import Iterable, List, Mapping, Optional, Set

import numpy as np

from .annotations import Annotations
from .category_counts import frequency_group
from .lvis_index import LVISIndex, has_lvis_fields, lvis_index
from .reader import read_annotations
from .training import trained_pairs, training_view


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
    view = training_view(annotations, annotations.label_map(None))
    return np.bincount(
        trained_pairs(annotations, view)[:, 1],
        minlength=len(annotations.categories)).tolist()


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


def coco_note(path: str, train: Optional[str] = None) -> List[str]:
    """Say how :func:`load_any_index` reads a file in COCO format.

    Args:
        path: The annotation file.
        train: Where training images are counted, if they are known.

    Returns:
        A sentence or two; nothing for LVIS files.
    """
    if has_lvis_fields(read_annotations(path)):
        return []
    where = train or f'{path} itself, since no training set is known'
    return [
        f'{path} is in COCO format: every category counts in every image, up '
        f'to 300 detections of an image. Rare categories are in up to 10 '
        f'images, common ones in up to 100, counted in {where}.'
    ]
