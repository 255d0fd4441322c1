"""Box heads whose test time does not grow with the number of categories."""
from functools import partial
from typing import Optional, Tuple, Union

import torch
from mmdet.models.layers import multiclass_nms as host_multiclass_nms
from mmdet.structures.bbox import get_box_tensor, scale_boxes
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from .nms import BoxesOf, Kept, class_nms

SERVED = {'type', 'iou_threshold', 'split_thr', 'class_agnostic'}
#: MMCV's ``batched_nms`` goes category by category from here on.
SPLIT_THR = 10000


class TopKPostprocess:
    """Mixin for box heads of the host: only the best candidates are decoded.

    The scores are the host's own. Where ``class_nms`` cannot serve the
    settings (see ``is_served``), and for test-time augmentation, the host
    does everything.

    Args:
        host_arithmetic: Whether to compare shifted boxes as MMCV does,
            which rounds them, instead of the boxes themselves.
    """

    def __init__(self, *args, host_arithmetic: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.host_arithmetic = host_arithmetic

    def _predict_by_feat_single(
            self,
            roi: Tensor,
            cls_score: Tensor,
            bbox_pred: Optional[Tensor],
            img_meta: dict,
            rescale: bool = False,
            rcnn_test_cfg: Optional[ConfigDict] = None) -> InstanceData:
        host = super()._predict_by_feat_single
        found = None
        if (rcnn_test_cfg is not None and bbox_pred is not None and len(roi)
                and is_served(rcnn_test_cfg.nms, rcnn_test_cfg.max_per_img,
                              self.bbox_coder.encode_size)):
            # Without box regression and NMS the host only scores.
            scores = host(roi, cls_score, None, img_meta).scores[:, :-1]
            found = _find(
                scores, partial(self._decode, roi, bbox_pred, img_meta,
                                rescale), rcnn_test_cfg.score_thr,
                rcnn_test_cfg.nms, rcnn_test_cfg.max_per_img,
                self.host_arithmetic)
        if found is None:
            return host(roi, cls_score, bbox_pred, img_meta, rescale,
                        rcnn_test_cfg)
        return InstanceData(
            bboxes=found.dets[:, :-1],
            scores=found.dets[:, -1],
            labels=found.labels)

    def _decode(self, roi: Tensor, bbox_pred: Tensor, img_meta: dict,
                rescale: bool, rows: Tensor, labels: Tensor) -> Tensor:
        deltas = bbox_pred.view(len(roi), -1, self.bbox_coder.encode_size)
        if self.reg_class_agnostic:
            labels = torch.zeros_like(labels)
        boxes = self.bbox_coder.decode(
            roi[rows, 1:],
            deltas[rows, labels],
            max_shape=img_meta['img_shape'])
        if rescale:
            boxes = scale_boxes(boxes,
                                [1 / s for s in img_meta['scale_factor']])
        return get_box_tensor(boxes)


def is_served(nms_cfg: Optional[dict], max_num: int, box_dim: int) -> bool:
    """Tell whether ``class_nms`` gives what the host would.

    Args:
        nms_cfg: As in the host's configs.
        max_num: Detections wanted; all of them, -1, is the host's task.
        box_dim: Numbers of a box; rotated boxes are the host's task.

    Returns:
        False for soft-NMS, class-agnostic NMS, none at all, and arguments
        of ``nms`` other than the IoU threshold.
    """
    return (max_num > 0 and box_dim == 4 and nms_cfg is not None
            and set(nms_cfg) <= SERVED and 'iou_threshold' in nms_cfg
            and nms_cfg.get('type', 'nms') == 'nms'
            and not nms_cfg.get('class_agnostic', False)
            and not torch.onnx.is_in_onnx_export())


def multiclass_nms(
    multi_bboxes: Tensor,
    multi_scores: Tensor,
    score_thr: float,
    nms_cfg: Optional[dict],
    max_num: int = -1,
    score_factors: Optional[Tensor] = None,
    return_inds: bool = False,
    box_dim: int = 4,
    host_arithmetic: bool = False
) -> Union[Tuple[Tensor, Tensor], Tuple[Tensor, Tensor, Tensor]]:
    """Do what the host's function of this name does, for many categories.

    It calls the host where ``is_served`` says so, and with score factors:
    they may be NaN, which the host ranks first.

    Args:
        multi_bboxes: (R, 4) or (R, 4 K) boxes.
        multi_scores: (R, K + 1); the last column is not read.
        score_thr: Scores must be strictly above it.
        nms_cfg: As in the host's configs.
        max_num: Detections wanted; all of them if not positive.
        score_factors: (R,) factors of the scores.
        return_inds: Whether to return indices, too.
        box_dim: Numbers of a box.
        host_arithmetic: Whether to compare shifted boxes as MMCV does.

    Returns:
        (k, 5) boxes with scores, best first; (k,) labels; and, if wanted,
        (k,) indices ``row * K + label``.
    """
    found = None
    if score_factors is None and is_served(nms_cfg, max_num, box_dim):
        boxes = multi_bboxes.unflatten(1, (-1, box_dim))
        found = _find(multi_scores[:, :-1], partial(_look_up, boxes),
                      score_thr, nms_cfg, max_num, host_arithmetic)
    if found is None:
        return host_multiclass_nms(multi_bboxes, multi_scores, score_thr,
                                   nms_cfg, max_num, score_factors,
                                   return_inds, box_dim)
    return tuple(found) if return_inds else tuple(found)[:2]


def _look_up(boxes: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    return boxes[rows, labels if boxes.shape[1] > 1 else 0]


def _find(scores: Tensor, boxes_of: BoxesOf, score_thr: float, nms_cfg: dict,
          max_num: int, host_arithmetic: bool) -> Optional[Kept]:
    """Find the detections, or None where only the host's way is the same."""
    spacing = None
    if host_arithmetic:
        candidates = (scores > score_thr).nonzero()
        # Below this number shifted boxes of two categories can meet.
        if len(candidates) < max(1, nms_cfg.get('split_thr', SPLIT_THR)):
            return None
        spacing = boxes_of(*candidates.unbind(1)).max() + 1
    return class_nms(scores, boxes_of, score_thr, nms_cfg['iou_threshold'],
                     max_num, spacing)
