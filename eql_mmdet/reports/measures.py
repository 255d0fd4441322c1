"""The numbers of the page about one run: what hotcoco says, put together."""
import importlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..annotations.category_counts import GROUPS
from ..annotations.lvis_index import LVISIndex
from ..evaluation.curves import Curves, mean_or, summarize
from ..evaluation.detections import Detections, gather
from ..evaluation.engines import HotcocoEngine
from ..evaluation.ground_truth import ground_truth
from ..evaluation.per_category import GROUP_NAMES, category_rows
from ..evaluation.results import BBOX, SEGM, ImageResult
from ..heads.rle import rle_dicts
from .bootstrap import average_precision, collect_matches, draw_weights
from .confusions import Confusions, find_confusions

Row = Dict[str, Any]
CONFIDENCE = 0.95


class Resampling(NamedTuple):
    """How intervals are drawn.

    Attributes:
        samples: Resampled data sets.
        seed: Of the generator.
    """
    samples: int = 200
    seed: int = 0


class Evaluated(NamedTuple):
    """One way of comparing, boxes or masks.

    Attributes:
        engine: With the ground truth.
        detections: Those that can count.
        evaluator: Of hotcoco, over all areas.
        groups: Rows of all, rare, common and frequent categories: AP with
            ``low`` and ``high``, AP50, AP75 and AR as fractions, None
            without ground truth.
        categories: Rows of ``category_rows`` with AP, AR, ``low``, ``high``.
        by_size: AP of small, medium and large objects; -1 without any.
    """
    engine: HotcocoEngine
    detections: Detections
    evaluator: Any
    groups: List[Row]
    categories: List[Row]
    by_size: Dict[str, float]


def evaluate(results: List[ImageResult], index: LVISIndex, iou_type: str,
             resampling: Resampling) -> Evaluated:
    """Compute AP by group and by category, with intervals over images.

    Args:
        results: One result an image.
        index: The annotation file.
        iou_type: ``'bbox'`` or ``'segm'``.
        resampling: Of the intervals.

    Returns:
        The numbers, and what further questions need.

    Raises:
        ValueError: If there are no samples to draw.
    """
    if resampling.samples < 1:
        raise ValueError(f'expected at least 1 resampled data set, but got '
                         f'{resampling.samples}')
    engine = HotcocoEngine(ground_truth(index, iou_type == 'segm'))
    use = SEGM if iou_type == 'segm' else BBOX
    detections = _with_area(gather(results, index, use))
    evaluator = engine.evaluator(detections, iou_type, all_areas=False)
    curves = Curves(evaluator.eval['precision'][..., 0],
                    evaluator.eval['recall'][..., 0])
    drawn = _resample(evaluator, index, resampling)
    rows = category_rows(index, dict(x=curves))
    for row, values in zip(rows, drawn):
        row.update(AP=row.pop('x_AP'), AR=row.pop('x_AR'))
        row.update(_limits(row['AP'], values))
    sizes = summarize(
        engine.curves(detections, iou_type), index.sorted_frequencies())
    return Evaluated(engine, detections, evaluator,
                     group_rows(curves, index.sorted_frequencies(), drawn),
                     rows, {key: sizes[key]
                            for key in ('APs', 'APm', 'APl')})


def _resample(evaluator: Any, index: LVISIndex,
              resampling: Resampling) -> np.ndarray:
    """(K, B) AP of the categories over the resampled data sets."""
    weights = draw_weights(len(index.sizes), *resampling)
    matches = collect_matches(evaluator,
                              np.arange(len(index.sizes)) + 1,
                              np.arange(len(index.rows)) + 1)
    return np.array([average_precision(item, weights) for item in matches])


def group_rows(curves: Curves, frequencies: Sequence[str],
               drawn: np.ndarray) -> List[Row]:
    """Average over the groups, as LVIS does.

    Args:
        curves: Of an engine, over all areas.
        frequencies: K letters of ``'rcf'``, by category id.
        drawn: (K, B) AP over resampled data sets, NaN without objects.

    Returns:
        The rows of :class:`Evaluated`, and how many categories a group has,
        and how many of them with ground truth.
    """
    letters = np.array(frequencies)
    precision, recall = (part[..., 0] for part in curves)
    there = (recall > -1).any(axis=0)
    rows = []
    members = {GROUP_NAMES[letter]: letters == letter for letter in GROUPS}
    for name, mask in dict(all=letters != '', **members).items():
        chosen = precision[:, :, mask]
        parts = dict(
            AP=chosen, AP50=chosen[0], AP75=chosen[5], AR=recall[:, mask])
        values = {key: mean_or(part, None) for key, part in parts.items()}
        rows.append(
            dict(
                values,
                name=name,
                categories=int(mask.sum()),
                with_objects=int(there[mask].sum()),
                **_limits(values['AP'], _mean_known(drawn[mask]))))
    return rows


def _mean_known(values: np.ndarray) -> np.ndarray:
    """(B,) means over the rows that are not NaN."""
    known = ~np.isnan(values)
    number = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(number, total / np.maximum(number, 1), np.nan)


def _limits(value: Optional[float], drawn: np.ndarray) -> Row:
    """Lay the spread of resampled values around the value itself.

    A resampled set has images twice, and what was found in an image is found
    again: so it has a higher AP, the more so the fewer images a category is
    in, and plain percentiles can leave out the value.
    """
    drawn = drawn[~np.isnan(drawn)]
    if value is None or not len(drawn):
        return dict(low=None, high=None)
    tail = 50 * (1 - CONFIDENCE)
    limits = value - drawn.mean() + np.percentile(drawn, (tail, 100 - tail))
    return dict(zip(('low', 'high'), limits.clip(0, 1).tolist()))


def _with_area(detections: Detections) -> Detections:
    """Leave out what the engine would, so that rows stay rows."""
    areas = detections.boxes[:, 2] * detections.boxes[:, 3]
    if detections.masks is not None:
        areas = importlib.import_module('hotcoco').mask.area(
            rle_dicts(detections.masks, detections.sizes))
    return _take(detections, np.flatnonzero(np.asarray(areas) > 0))


def _take(detections: Detections, rows: np.ndarray) -> Detections:
    columns = [[value[i] for i in rows.tolist()] if isinstance(value, list)
               else value if value is None else value[rows]
               for value in detections]
    return Detections(*columns)


class Diagnosis(NamedTuple):
    """What the detections lose to.

    Attributes:
        errors: hotcoco's ``tide_errors``.
        calibration: hotcoco's ``calibration``.
        confusions: Of the detections of at least ``score_thr``.
        images: ``image_id``, ``f1``, ``tp``, ``fp`` and ``fn`` of the images
            with an object or such a detection, at an IoU of 0.5.
    """
    errors: Dict[str, Any]
    calibration: Dict[str, Any]
    confusions: Confusions
    images: List[Row]


def diagnose(found: Evaluated, index: LVISIndex, iou_type: str,
             score_thr: float) -> Diagnosis:
    """Ask hotcoco what the detections lose to.

    Only what the protocol counts takes part: detections of unchecked
    categories are gone, and those that match nothing, of categories of
    which not every object is annotated, are ignored.

    Args:
        found: Of :func:`evaluate`.
        index: The annotation file.
        iou_type: As there.
        score_thr: Detections below it are no part of confusions and images.

    Returns:
        The answers.
    """
    confident = _take(found.detections,
                      np.flatnonzero(found.detections.scores >= score_thr))
    evaluator = found.engine.evaluator(confident, iou_type, all_areas=False)
    images = evaluator.image_diagnostics()
    # hotcoco's matrix knows no ignored detections; its ids are from 1.
    counted = np.array(sorted(images['dt_status']), np.int64) - 1
    counting = found.engine.evaluator(
        _take(confident, counted), iou_type, all_areas=False)
    ids = sorted(index.sizes)
    return Diagnosis(
        found.evaluator.tide_errors(), found.evaluator.calibration(),
        find_confusions(counting), [
            dict(
                image_id=ids[number - 1],
                **{key: item[key]
                   for key in ('f1', 'tp', 'fp', 'fn')})
            for number, item in sorted(images['img_summary'].items())
            if item['tp'] + item['fp'] + item['fn']
        ])
