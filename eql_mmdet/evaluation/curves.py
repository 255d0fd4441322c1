"""What an LVIS evaluator measures, and its averages."""
from typing import Dict, List, NamedTuple

import numpy as np

#: Names of the area ranges, in the order of the last axis of the curves.
AREAS = dict(all=0, small=1, medium=2, large=3)


class Curves(NamedTuple):
    """What an evaluator returns; -1 where a category has no ground truth.

    Attributes:
        precision: (10, 101, K, 4) over IoU thresholds 0.5 to 0.95, recall
            thresholds 0 to 1, categories by id, and area ranges.
        recall: (10, K, 4).
    """
    precision: np.ndarray
    recall: np.ndarray


def summarize(curves: Curves,
              frequencies: List[str],
              max_detections: int = 300) -> Dict[str, float]:
    """Average curves to the 13 LVIS metrics, as the official evaluator does.

    Args:
        curves: Of an engine.
        frequencies: K letters of ``'rcf'``, by category id.
        max_detections: Of an image; only names the recalls.

    Returns:
        Fractions at full precision; -1 where there is no ground truth.
    """
    precision, recall = curves
    groups = {
        letter: [i for i, f in enumerate(frequencies) if f == letter]
        for letter in 'rcf'
    }
    parts = dict(
        AP=precision[..., 0],
        AP50=precision[:1, ..., 0],
        AP75=precision[5:6, ..., 0])
    for area in ('small', 'medium', 'large'):
        parts[f'AP{area[0]}'] = precision[..., AREAS[area]]
    for letter, members in groups.items():
        parts[f'AP{letter}'] = precision[:, :, members, 0]
    for area, column in AREAS.items():
        letter = '' if area == 'all' else area[0]
        parts[f'AR{letter}@{max_detections}'] = recall[..., column]
    return {name: mean_or(part, -1.0) for name, part in parts.items()}


def mean_or(values: np.ndarray, empty: float) -> float:
    """Average the entries that exist.

    Args:
        values: Precisions or recalls, -1 where there is no ground truth.
        empty: What to return if there is none.

    Returns:
        The mean in [0, 1], or ``empty``.
    """
    existing = values[values > -1]
    return float(np.mean(existing)) if existing.size else empty
