"""From files of predictions and annotations to numbers, without a model."""
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

from ..annotations.exhaustive import coco_note, load_any_index
from ..annotations.findings import list_findings
from ..annotations.lvis_index import LVISIndex
from ..annotations.training import evaluation_findings
from . import protocol
from .curves import Curves
from .engines import ENGINES
from .ground_truth import ground_truth
from .predictions import read_predictions
from .results import compact, merge_results

PROPOSAL_NUMS = (100, 300, 1000)


class SavedEvaluation(NamedTuple):
    """What saved predictions are worth.

    Attributes:
        values: Such as ``'bbox_APr'`` -> fraction; -1 without ground truth.
        curves: Such as ``'bbox'`` -> what the values are averages of; not of
            proposals.
        index: The annotation file.
        images: Images that have predictions.
        notes: What is odd about the ground truth, and what is left out.
    """
    values: Dict[str, float]
    curves: Dict[str, Curves]
    index: LVISIndex
    images: int
    notes: List[str]


def evaluate_predictions(
        predictions: str,
        ann: str,
        classes: Optional[Iterable[str]] = None,
        metrics: Optional[Iterable[str]] = None,
        engine: str = 'hotcoco',
        proposal_nums: Iterable[int] = PROPOSAL_NUMS,
        log: Callable[[str], None] = lambda line: None,
        progress: Callable[[list], Iterable] = list) -> SavedEvaluation:
    """Evaluate saved predictions by the LVIS protocol.

    Args:
        predictions: ``.pkl`` of ``tools/test.py --out``, or ``.json`` in the
            COCO result format.
        ann: Annotation file of the set that was tested. In a file in COCO
            format every category counts in every image, and groups are by
            its own images.
        classes: Names in label order, for a ``.pkl`` whose labels are not in
            the order of ``ann``.
        metrics: Of ``'bbox'``, ``'segm'``, ``'lvis_fixed'``, ``'proposal'``;
            by default boxes, and masks if there are some.
        engine: ``'hotcoco'`` (seconds) or ``'lvis'`` (the reference,
            minutes).
        proposal_nums: Numbers of boxes of an image for ``'proposal'``.
        log: Is told what the engine says.
        progress: Shows how far the images are.

    Returns:
        The numbers.

    Raises:
        ValueError: If a file is refused, they do not fit each other, or
            masks are to be evaluated and there are none.
    """
    if engine not in ENGINES:
        raise ValueError(f'expected an engine of {tuple(ENGINES)}, but got '
                         f'"{engine}"')
    index = load_any_index(ann, classes)
    raw = read_predictions(predictions, index)
    masks = any(item.masks is not None for item in raw)
    metrics = list(metrics or ['bbox', 'segm'][:1 + masks])
    needs = protocol.needs_of(metrics, proposal_nums, index)
    results = merge_results(
        [compact(item, index, needs) for item in progress(raw)])
    left_out = protocol.masks_left_out(metrics, results, index)
    with_masks = protocol.compares_masks(metrics, results, index)
    engine = ENGINES[engine](ground_truth(index, with_masks), log=log)
    found = index.annotations
    evaluation = SavedEvaluation({}, {}, index, len(results), [
        *coco_note(ann), *list_findings(
            found.path, found.findings + evaluation_findings(found)),
        *filter(None, [left_out])
    ])
    for metric in metrics:
        for part in protocol.evaluate(engine, metric, results, index,
                                      proposal_nums):
            head = '' if metric == 'proposal' else f'{part.name}_'
            evaluation.values.update({
                head + item: value
                for item, value in part.values.items()
            })
            if metric != 'proposal':
                evaluation.curves[part.name] = part.curves
    return evaluation
