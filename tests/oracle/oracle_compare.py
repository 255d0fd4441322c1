"""How a found array and a recorded one are compared, whatever they are.

All is compared on the CPU, wherever it was computed.
"""
from typing import NamedTuple

import numpy as np

#: Units that no rounding changes, or for which rounding is no excuse.
EXACT = ('different', 'unpaired')
#: How far apart the corners of two equal boxes may be, in pixels.
BOX = 2e-3


class Row(NamedTuple):
    """A comparison: its largest difference, and what is allowed."""
    what: str
    unit: str
    seen: float
    allowed: float

    @property
    def holds(self):
        """Whether it is near enough; what is not a number never is."""
        return bool(self.seen <= self.allowed)


def assert_rows(rows):
    """Hold rows, of which there must be some."""
    rows = list(rows)
    assert rows and not [row for row in rows if not row.holds]


def on_cpu(tensor):
    return np.asarray(tensor.detach().cpu())


def at(tensor, index):
    return on_cpu(tensor).ravel()[index]


def difference(found, recorded):
    """Take the largest difference; NaN if there is nothing to compare."""
    found, recorded = np.asarray(found, float), np.asarray(recorded, float)
    if found.shape != recorded.shape:
        return np.inf
    return float(np.abs(found - recorded).max()) if found.size else np.nan


def relative(found, recorded):
    """Take the largest ratio of difference and record; 0 must be 0."""
    found, recorded = np.asarray(found, float), np.asarray(recorded, float)
    if found.shape != recorded.shape:
        return np.inf
    gap = np.abs(found - recorded)
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.where(gap == 0, 0, gap / np.abs(recorded))
    return float(ratio.max()) if ratio.size else np.nan


def different(found, recorded):
    """Count the entries that are not the same."""
    found, recorded = np.asarray(found), np.asarray(recorded)
    if found.shape != recorded.shape:
        return np.inf
    return float((found != recorded).sum())


def pair(boxes, labels, recorded_boxes, recorded_labels, within):
    """Pair equal boxes of equal label: (n,) found and (n,) recorded rows.

    Some may lack a partner: two scores that coincide as sigmoids
    (docs/recipe.md, 7), or an IoU that is the threshold but for rounding.
    """
    if not len(boxes):
        return np.zeros((2, 0), int)
    apart = np.abs(boxes[None] - recorded_boxes[:, None]).max(2)
    apart[labels[None] != recorded_labels[:, None]] = np.inf
    there = np.flatnonzero(apart.min(1) <= within)
    rows, first = np.unique(apart.argmin(1)[there], return_index=True)
    return rows, there[first]


def pair_rows(what, boxes, recorded_boxes, pairs):
    """Compare paired boxes; one in a hundred may lack a partner."""
    number = max(len(boxes), len(recorded_boxes))
    rows, there = pairs
    yield Row(f'{what} of {number}', 'unpaired', float(number - len(rows)),
              number // 100)
    yield Row(f'{what}: boxes', 'px',
              difference(boxes[rows], recorded_boxes[there]), BOX)


def max_of(differences):
    """Take the largest; NaN if one is, which ``max`` may pass over."""
    return float(np.max(list(differences)))


def of_largest(found, recorded):
    """Take the largest difference as a part of the largest value."""
    return difference(found, recorded) / np.abs(recorded).max()
