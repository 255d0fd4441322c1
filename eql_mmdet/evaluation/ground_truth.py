"""The ground truth of an LVIS file as columns, ready for an evaluator."""
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from ..annotations.lvis_index import LVISIndex
from ..annotations.masks import usable_polygons


class GroundTruth(NamedTuple):
    """G objects, with ids of our own: places among sorted ids, from 1.

    Attributes:
        images: One dict an image, in the order of their ids.
        categories: One dict a category, in the order of their ids.
        image_ids: (G,) int64.
        category_ids: (G,) int64.
        boxes: (G, 4) x, y, width, height in pixels.
        areas: (G,) pixels, above 0.
        masks: G polygons or RLE dicts; None if masks are not evaluated.
    """
    images: List[Dict[str, Any]]
    categories: List[Dict[str, Any]]
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    masks: Optional[list]


def ground_truth(index: LVISIndex, with_masks: bool) -> GroundTruth:
    """Take the ground truth out of an annotation file.

    Args:
        index: Of the file, for the chosen categories.
        with_masks: Whether masks will be evaluated.

    Returns:
        The columns, objects in the order of the file.
    """
    annotations = index.annotations
    column = np.full(len(annotations.categories), -1)
    column[index.rows] = index.columns
    ranks = np.array(
        [index.image_ranks[image.id] for image in annotations.images],
        np.int64)
    objects = np.flatnonzero(index.objects)
    masks = None
    if with_masks:
        masks = [_mask(annotations.load_mask(i)) for i in objects.tolist()]
    return GroundTruth(
        images=_images(index, column, ranks),
        categories=_categories(index),
        image_ids=ranks[annotations.image[objects]] + 1,
        category_ids=column[annotations.category[objects]] + 1,
        boxes=annotations.boxes[objects],
        areas=annotations.areas[objects],
        masks=masks)


def _mask(mask: Any) -> Any:
    return usable_polygons(mask) if isinstance(mask, list) else mask


def _images(index: LVISIndex, column: np.ndarray,
            ranks: np.ndarray) -> List[dict]:
    images = index.annotations.images
    return [
        dict(
            id=rank + 1,
            height=images[i].height,
            width=images[i].width,
            neg_category_ids=_ids(column, images[i].negative),
            not_exhaustive_category_ids=_ids(column, images[i].not_exhaustive))
        for rank, i in enumerate(np.argsort(ranks).tolist())
    ]


def _ids(column: np.ndarray, categories: tuple) -> List[int]:
    chosen = column[list(categories)]
    return (chosen[chosen >= 0] + 1).tolist()


def _categories(index: LVISIndex) -> List[dict]:
    return [
        dict(
            id=place + 1,
            name=index.names[label],
            frequency=index.frequencies[label])
        for place, label in enumerate(index.by_column().tolist())
    ]


def annotation_dicts(truth: GroundTruth) -> List[dict]:
    """Write the objects as the official package wants them.

    Args:
        truth: The ground truth.

    Returns:
        A dict an object, numbered from 1.
    """
    items = [
        dict(
            id=n + 1,
            image_id=image,
            category_id=category,
            bbox=box,
            area=area) for n, (image, category, box, area) in enumerate(
                zip(truth.image_ids.tolist(), truth.category_ids.tolist(),
                    truth.boxes.tolist(), truth.areas.tolist()))
    ]
    for item, mask in zip(items, truth.masks or ()):
        item['segmentation'] = mask
    return items
