"""Which categories are taken for which, out of hotcoco's matrix."""
from typing import Any, List, NamedTuple

import numpy as np


class Confusion(NamedTuple):
    """Objects of one category that were taken for another.

    Attributes:
        truth: Place of the category among the sorted ids.
        found: Place of the category it was taken for.
        count: Number of these objects.
        share: Of all objects of ``truth``, in (0, 1].
    """
    truth: int
    found: int
    count: int
    share: float


class Confusions(NamedTuple):
    """What became of the objects of K categories.

    Attributes:
        pairs: All confusions, the most frequent first.
        right: (K,) share of objects whose best match has their category.
        missed: (K,) share of objects that nothing matches. Both are NaN
            without objects.
    """
    pairs: List[Confusion]
    right: np.ndarray
    missed: np.ndarray


def find_confusions(evaluator: Any) -> Confusions:
    """Read the pairs from hotcoco's confusion matrix.

    Its row of detections without an object is left aside: it counts those
    of categories of which not every object is annotated.

    Args:
        evaluator: An evaluator of hotcoco, with the detections that count.

    Returns:
        The confusions at an IoU of 0.5, places as in its categories.
    """
    return confusions_of(evaluator.confusion_matrix()['matrix'])


def confusions_of(matrix: np.ndarray) -> Confusions:
    """Sort the entries of a confusion matrix.

    Args:
        matrix: (K + 1, K + 1) counts, objects by detections, background
            last.

    Returns:
        The confusions.
    """
    matrix = np.asarray(matrix, np.int64)[:-1]
    objects = matrix.sum(axis=1)
    missed = matrix[:, -1]
    own = np.arange(len(matrix))
    right = matrix[own, own]
    others = matrix[:, :-1].copy()
    others[own, own] = 0
    truth, found = np.nonzero(others)
    counts = others[truth, found]
    shares = counts / objects[truth]
    order = np.lexsort((found, truth, -shares, -counts))
    pairs = [
        Confusion(
            int(truth[i]), int(found[i]), int(counts[i]), float(shares[i]))
        for i in order
    ]
    share = np.full((2, len(matrix)), np.nan)
    np.divide([right, missed], objects, out=share, where=objects > 0)
    return Confusions(pairs, *share)
