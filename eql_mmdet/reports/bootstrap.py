"""How sure the AP of one category is: resampling of images."""
from typing import List, NamedTuple

import numpy as np

RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
#: Elements of one working array, which bounds the memory.
CHUNK = 4_000_000


class Matches(NamedTuple):
    """How the detections of one category met the ground truth.

    Attributes:
        images: (D,) position of each detection's image, best score first.
        hits: (T, D) whether a detection found an object at an IoU threshold.
        ignored: (T, D) whether it counts neither as found nor as false.
        object_images: (G,) position of each object's image.
    """
    images: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    object_images: np.ndarray


def collect_matches(evaluator: object, image_ids: np.ndarray,
                    category_ids: np.ndarray) -> List[Matches]:
    """Take the matches out of a hotcoco evaluator over all areas.

    Args:
        evaluator: After ``evaluate``, with one area range.
        image_ids: (I,) sorted ids.
        category_ids: (K,) ids.

    Returns:
        The matches of each category.
    """
    parts = {category: [] for category in category_ids.tolist()}
    for item in evaluator.eval_imgs:
        if item is not None:
            parts[item['category_id']].append(item)
    return [
        _join(sorted(items, key=lambda item: item['image_id']), image_ids)
        for items in parts.values()
    ]


def _join(items: List[dict], image_ids: np.ndarray) -> Matches:
    position = np.searchsorted(image_ids, [i['image_id'] for i in items])
    detections = [len(item['dtScores']) for item in items]
    objects = [item['gtIgnore'].count(False) for item in items]
    scores = np.concatenate([np.zeros(0), *(i['dtScores'] for i in items)])
    order = np.argsort(-scores, kind='stable')
    hits, ignored = (
        np.hstack([
            np.array(item[key], dtype=bool).reshape(10, -1) for item in items
        ] or [np.zeros((10, 0), dtype=bool)])[:, order]
        for key in ('dtMatched', 'dtIgnore'))
    return Matches(
        np.repeat(position, detections)[order].astype(np.int64), hits, ignored,
        np.repeat(position, objects).astype(np.int64))


def draw_weights(images: int, samples: int, seed: int) -> np.ndarray:
    """Draw data sets of the same size with replacement.

    Args:
        images: Number of images, I.
        samples: Number of data sets, B.
        seed: Of the generator.

    Returns:
        (B, I) how often each data set has each image.
    """
    generator = np.random.default_rng(seed)
    weights = np.zeros((samples, images), dtype=np.uint8)
    for row in weights:
        row += np.bincount(
            generator.integers(images, size=images),
            minlength=images).astype(np.uint8)
    return weights


def average_precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Compute the AP of one category over resampled data sets.

    Args:
        matches: Of the category.
        weights: (B, I) how often each data set has each image.

    Returns:
        (B,) fractions; NaN where a data set has no object of the category.
    """
    objects = weights[:, matches.object_images].sum(axis=1, dtype=np.float64)
    result = np.full(len(weights), np.nan)
    step = max(1, CHUNK // max(1, len(matches.images)))
    seen = np.flatnonzero(objects)
    for begin in range(0, len(seen), step):
        rows = seen[begin:begin + step]
        chosen = weights[rows][:, matches.images].astype(np.float64)
        result[rows] = np.mean([
            _precision(chosen, objects[rows, None], hits & ~ignored, ~ignored)
            for hits, ignored in zip(matches.hits, matches.ignored)
        ],
                               axis=0)
    return result


def _precision(weights: np.ndarray, objects: np.ndarray, hits: np.ndarray,
               counted: np.ndarray) -> np.ndarray:
    """Average the precision at 101 recalls, at one IoU threshold.

    Only hits raise the recall, and between two of them precision falls: so
    the curve is known from its values at the hits.
    """
    columns = np.flatnonzero(hits)
    found = np.cumsum(weights[:, columns], axis=1)
    ranks = np.cumsum(weights * counted, axis=1)[:, columns]
    precision = found / (ranks + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALL_THRESHOLDS, found / objects, side='right')
    return (best * np.diff(reached, axis=1, prepend=0)).sum(
        axis=1) / len(RECALL_THRESHOLDS)
