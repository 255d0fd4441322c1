"""The two LVIS evaluators behind one call: columns in, curves out."""
import importlib
import logging
from typing import Any, Callable, List, Optional

import numpy as np

from ..heads.rle import rle_dicts
from .curves import Curves
from .detections import Detections
from .ground_truth import GroundTruth, annotation_dicts

NO_LIMIT = 10**9
#: Comparisons of lvis without a word; ten lines if there are more.
PROGRESS_STEP = 100_000


class HotcocoEngine:
    """The fast evaluator, written in Rust.

    Args:
        truth: The ground truth.
        log: Not used: this takes seconds.

    Raises:
        ImportError: If hotcoco is missing.
    """

    @staticmethod
    def package() -> Any:
        """Import the package, or say how to get it."""
        return _import('hotcoco', 'pip install "hotcoco==1.3.0"')

    def __init__(self,
                 truth: GroundTruth,
                 log: Optional[Callable[[str], None]] = None) -> None:
        self._hotcoco = self.package()
        self._ground_truth = self._hotcoco.COCO.from_arrays(
            truth.images,
            truth.categories,
            truth.image_ids,
            truth.category_ids,
            truth.boxes,
            area=truth.areas,
            segmentation=truth.masks)

    def evaluator(self,
                  detections: Detections,
                  iou_type: str,
                  class_agnostic: bool = False,
                  all_areas: bool = True) -> Any:
        """Compare detections with the ground truth.

        Args:
            detections: What to evaluate; nothing more is dropped or capped.
            iou_type: ``'bbox'`` or ``'segm'``.
            class_agnostic: Whether to ignore categories.
            all_areas: Whether to evaluate small, medium and large objects
                too, or only all of them together.

        Returns:
            The evaluator of hotcoco after ``evaluate`` and ``accumulate``.
        """
        areas, rles = detections.boxes[:, 2] * detections.boxes[:, 3], None
        if iou_type == 'segm':
            rles = rle_dicts(detections.masks, detections.sizes)
            areas = np.array(self._hotcoco.mask.area(rles))
        kept = np.flatnonzero(areas > 0)
        table = np.column_stack([
            detections.image_ids, detections.boxes, detections.scores,
            detections.category_ids
        ])[kept].astype(np.float64)
        results = self._ground_truth.load_res(
            table, segmentation=rles and [rles[row] for row in kept])
        if rles:
            # With boxes beside them masks got the areas of the boxes.
            results.update_anns(
                ids=np.arange(1,
                              len(kept) + 1), area=areas[kept])
        results = results.cap_detections_per_image(None)
        evaluator = self._hotcoco.LVISEval(self._ground_truth, results,
                                           iou_type)
        evaluator.params.use_cats = not class_agnostic
        # Else 300 of each image and category, even of uncapped results.
        evaluator.params.max_dets = [NO_LIMIT]
        if not all_areas:
            evaluator.params.area_rng = evaluator.params.area_rng[:1]
            evaluator.params.area_rng_lbl = evaluator.params.area_rng_lbl[:1]
        evaluator.evaluate()
        evaluator.accumulate()
        return evaluator

    def curves(self,
               detections: Detections,
               iou_type: str,
               class_agnostic: bool = False) -> Curves:
        """Like ``evaluator``, but only the curves."""
        evaluation = self.evaluator(detections, iou_type, class_agnostic).eval
        return Curves(evaluation['precision'][..., 0],
                      evaluation['recall'][..., 0])


class LVISEngine:
    """The official evaluator: the reference, slow and large.

    Args:
        truth: The ground truth.
        log: Is told how far a long evaluation is.
    """

    @staticmethod
    def package() -> Any:
        """Import the package, or say how to get it."""
        return _import('lvis', 'pip install lvis')

    def __init__(self,
                 truth: GroundTruth,
                 log: Optional[Callable[[str], None]] = None) -> None:
        self._lvis = self.package()
        self._log = log
        self._ground_truth = self._load(
            self._lvis.LVIS,
            dict(
                images=truth.images,
                categories=truth.categories,
                annotations=annotation_dicts(truth)))

    def curves(self,
               detections: Detections,
               iou_type: str,
               class_agnostic: bool = False) -> Curves:
        """Compare detections with the ground truth.

        Args:
            detections: What to evaluate; nothing more is dropped or capped.
            iou_type: ``'bbox'`` or ``'segm'``.
            class_agnostic: Whether to ignore categories.

        Returns:
            The curves.
        """
        ground_truth = self._ground_truth
        if class_agnostic:
            # lvis with use_cats=0 finds no ground truth at all.
            ground_truth = self._load(self._lvis.LVIS,
                                      _one_category(ground_truth.dataset))
            detections = detections._replace(
                category_ids=np.ones_like(detections.category_ids))
        items = _dicts(detections, iou_type)
        if items:
            results = self._lvis.LVISResults(ground_truth, items, max_dets=-1)
        else:  # It fails on an empty list.
            results = self._load(self._lvis.LVISResults,
                                 dict(ground_truth.dataset, annotations=[]))
        evaluator = self._lvis.LVISEval(ground_truth, results, iou_type)
        if self._log is not None:
            _tell_progress(evaluator, self._log)
        evaluator.evaluate()
        evaluator.accumulate()
        return Curves(evaluator.eval['precision'], evaluator.eval['recall'])

    @staticmethod
    def _load(kind: type, dataset: dict) -> Any:
        loaded = kind.__new__(kind)
        loaded.logger = logging.getLogger('lvis')
        loaded.dataset = dataset
        loaded._create_index()
        return loaded


ENGINES = dict(hotcoco=HotcocoEngine, lvis=LVISEngine)


def _import(name: str, command: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'engine="{name}" needs the package {name}: run "{command}", or '
            f'choose another of {sorted(ENGINES)}') from error


def _tell_progress(evaluator: Any, log: Callable[[str], None]) -> None:
    inner, done = evaluator.evaluate_img, 0
    total = len(evaluator.params.img_ids) * len(
        evaluator.params.cat_ids) * len(evaluator.params.area_rng)
    step = max(total // 10, PROGRESS_STEP)

    def evaluate_img(*args: Any) -> Any:
        """Count, tell now and then, and compare as lvis does."""
        nonlocal done
        done += 1
        if done % step == 0:
            log(f'lvis has compared {100 * done // total} %')
        return inner(*args)

    evaluator.evaluate_img = evaluate_img


def _dicts(detections: Detections, iou_type: str) -> List[dict]:
    shapes = dict(bbox=detections.boxes.tolist())
    if iou_type == 'segm':
        rles = rle_dicts(detections.masks, detections.sizes)
        shapes = dict(segmentation=rles)
    (name, values), = shapes.items()
    columns = zip(detections.image_ids.tolist(),
                  detections.category_ids.tolist(), values,
                  detections.scores.tolist())
    return [{
        'image_id': image,
        'category_id': category,
        name: value,
        'score': score
    } for image, category, value, score in columns]


def _one_category(dataset: dict) -> dict:
    images = [
        dict(image, neg_category_ids=[], not_exhaustive_category_ids=[])
        for image in dataset['images']
    ]
    # In the order in which an evaluator goes through the categories: of
    # equal overlaps the last one is matched.
    annotations = sorted(
        dataset['annotations'], key=lambda item: item['category_id'])
    return dict(
        images=images,
        annotations=[dict(item, category_id=1) for item in annotations],
        categories=[dict(id=1, name='object', frequency='f')])
