"""The detections of a data set as columns, ready for an evaluator."""
from typing import Any, List, NamedTuple, Optional

import numpy as np

from ..annotations.lvis_index import LVISIndex
from .results import CHECKED, PROPOSAL, SEGM, ImageResult

MAX_PER_CATEGORY = 10000


class Detections(NamedTuple):
    """N detections of a data set.

    Attributes:
        image_ids: (N,) int64 ids of our own, as in ``GroundTruth``.
        category_ids: (N,) int64, the same.
        boxes: (N, 4) x, y, width, height in pixels.
        scores: (N,) of the boxes or of the masks.
        sizes: (N, 2) height and width of the images.
        masks: N compressed RLEs, or None for boxes.
    """
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    sizes: np.ndarray
    masks: Optional[List[bytes]]


def gather(results: List[ImageResult], index: LVISIndex,
           use: int) -> Detections:
    """Collect the detections of one use.

    Args:
        results: One result an image.
        index: The annotation file.
        use: ``BBOX``, ``SEGM`` or ``PROPOSAL``.

    Returns:
        The columns; masks and their scores for ``SEGM``.
    """
    rows = [np.flatnonzero(item.uses & use) for item in results]
    return columns_of(results, index, rows, use == SEGM)


def gather_fixed(results: List[ImageResult], index: LVISIndex,
                 with_masks: bool) -> Detections:
    """Collect the best 10,000 detections of each category.

    Fixed AP (Dave et al., 2021, https://arxiv.org/abs/2102.01066) ranks all
    detections of a category over the data set before the official evaluator
    drops those in images where the category is not checked.

    Args:
        results: One result an image, with every detection.
        index: The annotation file.
        with_masks: Whether to rank by the scores of masks and collect masks.

    Returns:
        The columns of the detections that can count.
    """
    name = 'mask_scores' if with_masks else 'scores'
    scores = _concatenate([getattr(item, name) for item in results])
    categories = _concatenate([item.labels for item in results])
    order = np.lexsort((-scores, categories))
    ordered = categories[order]
    begin = np.searchsorted(ordered, ordered, side='left')
    best = np.zeros(len(order), dtype=bool)
    best[order] = np.arange(len(order)) - begin < MAX_PER_CATEGORY
    ends = np.cumsum([len(item.uses) for item in results])
    parts = np.split(best, ends[:-1]) if results else []
    rows = [
        np.flatnonzero(part & (item.uses & CHECKED > 0))
        for part, item in zip(parts, results)
    ]
    return columns_of(results, index, rows, with_masks)


def gather_proposals(results: List[ImageResult], index: LVISIndex,
                     number: int) -> Detections:
    """Collect the best boxes of each image, whatever their category.

    lvis drops detections of unchecked categories even where categories are
    not to be used, which would drop nearly all boxes of a class-agnostic
    proposal network. So each box gets a category annotated in its image;
    images without annotations have no recall.

    Args:
        results: One result an image.
        index: The annotation file.
        number: Boxes of an image.

    Returns:
        The columns.
    """
    results = [item for item in results if item.image_id in index.an_annotated]
    rows = []
    for item in results:
        order = np.argsort(-item.scores, kind='stable')
        order = order[item.uses[order] & PROPOSAL > 0][:number]
        rows.append(np.sort(order))
    columns = columns_of(results, index, rows, False)
    annotated = np.repeat([index.an_annotated[r.image_id] for r in results],
                          [len(row) for row in rows])
    return columns._replace(
        category_ids=index.columns[annotated.astype(np.int64)] + 1)


def _concatenate(parts: List[Any]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def columns_of(results: List[ImageResult], index: LVISIndex,
               rows: List[np.ndarray], with_masks: bool) -> Detections:
    """Put chosen detections of many images into columns.

    Args:
        results: N images.
        index: The annotation file.
        rows: N index arrays: the detections of each image, in their order.
        with_masks: Whether to take masks and their scores.

    Returns:
        The columns, image after image.
    """
    counts = [len(row) for row in rows]
    score = 'mask_scores' if with_masks else 'scores'

    def column(name: str, width: tuple = ()) -> np.ndarray:
        parts = [getattr(r, name)[row] for r, row in zip(results, rows)]
        return np.concatenate(parts) if parts else np.zeros((0, ) + width)

    masks = None
    if with_masks:
        masks = []
        for item, row in zip(results, rows):
            cut = item.masks()
            masks.extend(cut[i] for i in row.tolist())
    sizes = np.array([r.size for r in results], np.int64).reshape(-1, 2)
    image_ids = np.array([index.image_ranks[r.image_id]
                          for r in results], np.int64) + 1
    labels = column('labels').astype(np.int64)
    return Detections(
        np.repeat(image_ids, counts), index.columns[labels] + 1,
        column('boxes', (4, )), column(score),
        np.repeat(sizes, counts, axis=0), masks)
