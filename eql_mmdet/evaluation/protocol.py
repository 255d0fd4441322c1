"""The metrics of the LVIS protocol: which detections, which averages."""
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from ..annotations.lvis_index import LVISIndex
from .curves import Curves, summarize
from .detections import gather, gather_fixed, gather_proposals
from .results import BBOX, MAX_DETECTIONS, SEGM, ImageResult, Needs

METRICS = ('bbox', 'segm', 'proposal', 'lvis_fixed')
AP_ITEMS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf')


class Evaluation(NamedTuple):
    """One evaluation over a data set.

    Attributes:
        name: ``'bbox'``, ``'segm'``, ``'lvis_fixed_bbox'``,
            ``'lvis_fixed_segm'`` or ``'proposal'``.
        values: Item, such as ``'APr'`` -> fraction; -1 without ground truth.
        curves: What the values are averages of.
    """
    name: str
    values: Dict[str, float]
    curves: Curves


def metric_items(proposal_nums: Sequence[int]) -> List[str]:
    """List the items that evaluations can have.

    Args:
        proposal_nums: Numbers of boxes of an image for ``'proposal'``.

    Returns:
        Names such as ``'APr'`` and ``'ARs@300'``.
    """
    return list(AP_ITEMS) + [
        f'AR{area}@{number}' for number in (MAX_DETECTIONS, *proposal_nums)
        for area in ('', 's', 'm', 'l')
    ]


def needs_of(metrics: Sequence[str], proposal_nums: Sequence[int],
             index: LVISIndex) -> Needs:
    """Say what metrics need of the results of an image.

    Args:
        metrics: Of ``METRICS``.
        proposal_nums: Numbers of boxes of an image for ``'proposal'``.
        index: The annotation file.

    Returns:
        The needs.

    Raises:
        ValueError: If there are other names, or masks are to be evaluated
            and the annotation file has none.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(
                f'metric must be of {METRICS}, but got {metric!r}')
    if 'segm' in metrics and index.first_without_mask:
        raise ValueError(f'metric="segm" compares masks, but in {index.path} '
                         f'{index.first_without_mask}; draw it, take the '
                         f'annotation out, or evaluate metric="bbox"')
    return Needs(
        bbox='bbox' in metrics,
        segm='segm' in metrics,
        fixed='lvis_fixed' in metrics,
        proposals=max(proposal_nums) if 'proposal' in metrics else 0)


def compares_masks(metrics: Sequence[str], results: List[ImageResult],
                   index: LVISIndex) -> bool:
    """Tell whether the ground truth needs its masks.

    Args:
        metrics: Of ``METRICS``.
        results: One result an image.
        index: The annotation file.

    Returns:
        True for mask AP, and for Fixed AP where both sides have masks.
    """
    return 'segm' in metrics or ('lvis_fixed' in metrics
                                 and _has_masks(results, index))


def masks_left_out(metrics: Sequence[str], results: List[ImageResult],
                   index: LVISIndex) -> Optional[str]:
    """Say why Fixed AP is of boxes alone although there are masks.

    Args:
        metrics: Of ``METRICS``.
        results: One result an image.
        index: The annotation file.

    Returns:
        A sentence; None if no number is missing.
    """
    fault = index.first_without_mask if 'lvis_fixed' in metrics else None
    if not fault or not any(r.rle for r in results):
        return None
    return (f'{index.path}: lvis_fixed compares boxes alone, since {fault}; '
            f'draw it, or take the annotation out, to compare masks')


def _has_masks(results: List[ImageResult], index: LVISIndex) -> bool:
    return any(r.rle for r in results) and not index.first_without_mask


def evaluate(engine: Any, metric: str, results: List[ImageResult],
             index: LVISIndex,
             proposal_nums: Sequence[int]) -> Iterator[Evaluation]:
    """Compute one metric over a data set.

    Args:
        engine: An engine with the ground truth.
        metric: Of ``METRICS``.
        results: One result an image.
        index: The annotation file.
        proposal_nums: Numbers of boxes of an image for ``'proposal'``.

    Yields:
        One evaluation, or several: Fixed AP has boxes and masks, proposals
        have several numbers.
    """
    if metric == 'proposal':
        for number in proposal_nums:
            yield _proposal(engine, results, index, number)
    elif metric == 'lvis_fixed':
        with_masks = not index.first_without_mask and any(r.rle
                                                          for r in results)
        for iou_type in ('bbox', 'segm')[:1 + with_masks]:
            found = gather_fixed(results, index, iou_type == 'segm')
            curves = engine.curves(found, iou_type)
            values = summarize(curves, index.sorted_frequencies())
            yield Evaluation(f'lvis_fixed_{iou_type}',
                             {item: values[item]
                              for item in AP_ITEMS}, curves)
    else:
        found = gather(results, index, SEGM if metric == 'segm' else BBOX)
        curves = engine.curves(found, metric)
        yield Evaluation(metric, summarize(curves, index.sorted_frequencies()),
                         curves)


def _proposal(engine: Any, results: List[ImageResult], index: LVISIndex,
              number: int) -> Evaluation:
    found = gather_proposals(results, index, number)
    curves = engine.curves(found, 'bbox', class_agnostic=True)
    # The one column of the curves stands for all categories together.
    values = summarize(curves, [], number)
    recalls = {name: v for name, v in values.items() if 'AR' in name}
    return Evaluation('proposal', recalls, curves)
