"""Test a box head again and again: the rest of the detector runs once."""
from typing import Any, Dict, Iterator, NamedTuple, Sequence

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..annotations.lvis_index import load_index
from ..evaluation.engines import HotcocoEngine
from ..evaluation.ground_truth import ground_truth
from ..evaluation.predictions import RawResult, read_sample
from ..evaluation.protocol import evaluate
from ..evaluation.results import Needs, compact


class Proposals(NamedTuple):
    """What a box head gets of one image, on the device of the model.

    Attributes:
        values: (R, C, h, w) features.
        rois: (R, 5) RoIs of batch index 0.
        metainfo: Of the image's data sample.
    """
    values: Tensor
    rois: Tensor
    metainfo: Dict[str, Any]


@torch.no_grad()
def propose(model: nn.Module, dataset: Any) -> Iterator[Proposals]:
    """Propose RoIs and pool their features, as testing does.

    Args:
        model: A two-stage detector; it is set to test mode.
        dataset: The test set of its config.

    Yields:
        One item an image, in the order of the data set.
    """
    roi_head = model.roi_head
    extractor = roi_head.bbox_roi_extractor
    model.eval()
    # One image at a time, as when features are pooled for training.
    for batch in DataLoader(dataset, collate_fn=pseudo_collate):
        data = model.data_preprocessor(batch, False)
        x = model.extract_feat(data['inputs'])
        found = model.rpn_head.predict(x, data['data_samples'], rescale=False)
        rois = bbox2roi([instances.bboxes for instances in found])
        values = extractor(x[:extractor.num_inputs], rois)
        yield Proposals(values, rois, data['data_samples'][0].metainfo)


@torch.no_grad()
def detect(model: nn.Module, image: Proposals) -> Dict[str, Any]:
    """Apply the box head of a model to the proposals of one image.

    Args:
        model: The detector, in test mode.
        image: Of :func:`propose`, by this model or by one that differs in
            nothing but its box head.

    Returns:
        A data sample as metrics get it: ``pred_instances`` has boxes, scores
        and labels, no masks.
    """
    head = model.roi_head.bbox_head
    cls_score, bbox_pred = head(image.values)
    found, = head.predict_by_feat(
        rois=(image.rois, ),
        cls_scores=(cls_score, ),
        bbox_preds=(bbox_pred, ),
        batch_img_metas=[image.metainfo],
        rcnn_test_cfg=model.test_cfg.rcnn,
        rescale=True)
    return dict(image.metainfo, pred_instances=found.cpu())


class Truth:
    """What detections are compared with, read once.

    Args:
        path: Annotation file in LVIS format.
        classes: Names in label order.
    """

    def __init__(self, path: str, classes: Sequence[str]) -> None:
        self.index = load_index(path, classes)
        self._engine = HotcocoEngine(
            ground_truth(self.index, with_masks=False))

    def scores(self, samples: Sequence[dict],
               detections: int) -> Dict[str, float]:
        """Compute box AP under a limit of detections.

        Args:
            samples: Data samples, as of :func:`detect`.
            detections: The most of an image that count, at most 300.

        Returns:
            Item, such as ``'APr'`` -> fraction; -1 without ground truth.
        """
        results = [
            compact(
                _best(read_sample(sample, self.index), detections), self.index,
                Needs(bbox=True)) for sample in samples
        ]
        found, = evaluate(self._engine, 'bbox', results, self.index, ())
        return found.values


def _best(raw: RawResult, number: int) -> RawResult:
    """Keep the detections of highest score; of equal ones the first."""
    rows = (-raw.scores).argsort(kind='stable')[:number]
    return raw._replace(
        labels=raw.labels[rows],
        boxes=raw.boxes[rows],
        scores=raw.scores[rows],
        mask_scores=raw.mask_scores[rows])
