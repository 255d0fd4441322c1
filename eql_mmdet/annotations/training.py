"""Which objects the host trains on, and why it does not train on others."""
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from .annotations import Annotations
from .findings import Finding

#: Most categories that a finding names.
_NAMED = 10


class TrainingView(NamedTuple):
    """The objects of a file as the host's pipeline sees them.

    Attributes:
        labels: (M,) int64 label of each object; -1 if its category is not
            chosen.
        is_kept: (M,) bool, the host gets the object: to train on or, for
            crowds, to leave alone what is found there.
        is_trained: (M,) bool, the host trains on it.
        findings: What is lost and why; categories without an image.
    """
    labels: np.ndarray
    is_kept: np.ndarray
    is_trained: np.ndarray
    findings: List[Finding]


def training_view(annotations: Annotations,
                  label_map: np.ndarray,
                  with_masks: bool = False) -> TrainingView:
    """Decide about every object as the host's ``CocoDataset`` does.

    Args:
        annotations: The file.
        label_map: (K,) int64 of ``Annotations.label_map``.
        with_masks: Whether masks are trained; then the host leaves alone
            what has none.

    Returns:
        The view.
    """
    labels = label_map[annotations.category]
    chosen = labels >= 0
    lost = _reasons(annotations, with_masks)
    left, findings = chosen.copy(), []
    for reason, hit in lost.items():
        now = left & hit
        left &= ~hit
        if now.any():
            findings.append(_loss(annotations, reason, now, chosen))
    is_kept = chosen.copy()
    for reason, hit in lost.items():
        if reason not in (_CROWD, _MASKLESS):
            is_kept &= ~hit
    findings += _beyond(annotations, left)
    if left.any():  # else there is one thing to say, not one a category
        findings += _empty_categories(annotations, label_map, lost, chosen,
                                      left)
    return TrainingView(labels, is_kept, left, findings)


_IGNORED = 'marked "ignore"'
_OUTSIDE = 'outside their image'
_FLAT = 'without area ("area" is 0 or less)'
_SMALL = 'smaller than 1 pixel'
_EMPTY = 'without width or height'
_CROWD = 'marked iscrowd=1'
_MASKLESS = 'without a mask'
_MENDS = {
    _IGNORED: 'take the mark out to train on them',
    _OUTSIDE: 'check that "bbox" is x, y, width, height in pixels',
    _FLAT: 'write the area in pixels, or leave "area" out',
    _SMALL: 'check that "bbox" is in pixels, not a fraction of the image',
    _EMPTY: 'check that "bbox" is x, y, width, height in pixels',
    _CROWD: 'set iscrowd=0 for single objects, such as brush masks',
    _MASKLESS: 'draw them, or train a detector without masks',
}


def _reasons(annotations: Annotations,
             with_masks: bool) -> Dict[str, np.ndarray]:
    """Mark what is not trained, in the order in which the host asks."""
    x, y, w, h = annotations.boxes.T
    height, width = annotations.sizes[annotations.image].T
    inside_w = np.minimum(x + w, width) - np.maximum(x, 0)
    inside_h = np.minimum(y + h, height) - np.maximum(y, 0)
    reasons = {
        _IGNORED: annotations.is_ignored,
        _SMALL: (w < 1) | (h < 1),
        _OUTSIDE: (inside_w <= 0) | (inside_h <= 0),
        _FLAT: annotations.areas <= 0,
        _CROWD: annotations.is_crowd,
    }
    if with_masks:
        reasons[_MASKLESS] = ~annotations.has_mask()
    return reasons


def _loss(annotations: Annotations,
          reason: str,
          hit: np.ndarray,
          chosen: np.ndarray,
          then: str = 'will not be trained') -> Finding:
    number = int(hit.sum())
    index = int(np.argmax(hit))
    box = annotations.boxes[index].tolist()
    return Finding(
        f'{number} of {int(chosen.sum())} annotations are {reason} and '
        f'{then}', f'{annotations.place(index)}, bbox {box}', _MENDS[reason])


def _beyond(annotations: Annotations, left: np.ndarray) -> List[Finding]:
    """Find boxes that are used as they are, larger than their image."""
    x, y, w, h = annotations.boxes.T
    height, width = annotations.sizes[annotations.image].T
    hit = left & ((x < -1) | (y < -1) | (x + w > width + 1) |
                  (y + h > height + 1))
    if not hit.any():
        return []
    index = int(np.argmax(hit))
    return [
        Finding(
            f'{hit.sum()} of {left.sum()} annotations reach more than a pixel '
            f'out of their image', f'{annotations.place(index)}, bbox '
            f'{annotations.boxes[index].tolist()}', _MENDS[_OUTSIDE])
    ]


def _empty_categories(annotations: Annotations, label_map: np.ndarray,
                      lost: Dict[str, np.ndarray], chosen: np.ndarray,
                      left: np.ndarray) -> List[Finding]:
    """Name categories that nothing is left of, and why."""
    size = len(label_map)
    here = np.bincount(annotations.category[chosen], minlength=size)
    kept = np.bincount(annotations.category[left], minlength=size)
    findings = [
        _emptied(annotations, k, lost)
        for k in np.flatnonzero((here > 0) & (kept == 0))[:_NAMED].tolist()
    ]
    empty = np.flatnonzero((label_map >= 0) & (here == 0)).tolist()
    if empty and not annotations.is_test_set:
        names = ', '.join(f'"{annotations.names[k]}"' for k in empty[:_NAMED])
        more = ', ...' if len(empty) > _NAMED else ''
        findings.append(
            Finding(
                f'{len(empty)} of {int((label_map >= 0).sum())} categories '
                f'have no annotation: {names}{more}',
                f'category id {annotations.categories[empty[0]].id}',
                'nothing to do if that is so; they count as the rarest, with '
                'frequency 0'))
    return findings


def _emptied(annotations: Annotations, category: int,
             lost: Dict[str, np.ndarray]) -> Finding:
    own = annotations.category == category
    reason = max(lost, key=lambda name: (lost[name] & own).sum())
    share = 'all' if lost[reason][own].all() else 'most'
    return Finding(
        f'{share} annotations of "{annotations.names[category]}" are {reason}'
        f', and the host trains on none of them',
        annotations.place(int(np.argmax(own))), _MENDS[reason])


def evaluation_findings(annotations: Annotations) -> List[Finding]:
    """List ground truth that no detection can be right about.

    Args:
        annotations: The file of a set that is tested.

    Returns:
        Objects outside or beyond their image, smaller than a pixel, or
        without area.
    """
    if not len(annotations.boxes) and not annotations.is_test_set:
        return [
            Finding('there is nothing to find in any image',
                    '"annotations" is empty',
                    'check that this is the file of the right set')
        ]
    _, _, w, h = annotations.boxes.T
    everything = np.ones(len(w), bool)
    reasons = _reasons(annotations, False)
    hits = {
        _OUTSIDE: reasons[_OUTSIDE] & (w > 0) & (h > 0),
        _EMPTY: (w <= 0) | (h <= 0),
        _SMALL: reasons[_SMALL] & (w > 0) & (h > 0),
        _FLAT: reasons[_FLAT],
    }
    findings = [
        _loss(annotations, reason, hit, everything,
              f'can{" hardly" if reason == _SMALL else "not"} be found')
        for reason, hit in hits.items() if hit.any()
    ]
    return findings + _beyond(annotations, ~reasons[_OUTSIDE])


def check_left(annotations: Annotations, view: TrainingView) -> None:
    """Stop where nothing is left to train on.

    Args:
        annotations: The file.
        view: Of it.

    Raises:
        ValueError: If no object is trained; it says why.
    """
    if view.is_trained.any():
        return
    reasons = '; '.join(map(str, view.findings)) or 'it has no annotations'
    raise ValueError(f'{annotations.path}: none of its '
                     f'{len(annotations.image)} objects is left to train on: '
                     f'{reasons}')


def trained_pairs(annotations: Annotations,
                  view: TrainingView,
                  images: Optional[np.ndarray] = None) -> np.ndarray:
    """List which label is trained in which image, every pair once.

    Args:
        annotations: The file.
        view: Of it.
        images: Positions to look at; all by default.

    Returns:
        (P, 2) int64 image position and label, sorted.
    """
    rows = view.is_trained
    if images is not None:
        rows = rows & np.isin(annotations.image, images)
    pairs = np.stack([annotations.image[rows], view.labels[rows]], axis=1)
    return np.unique(pairs.astype(np.int64), axis=0)
