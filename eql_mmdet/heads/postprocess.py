"""Box heads whose test time does not grow with the number of categories."""
from functools import partial
from typing import Optional

import torch
from mmdet.structures.bbox import get_box_tensor, scale_boxes
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..host.logs import warn_each
from .candidates import mask_rows_
from .nms import class_nms

BROKEN = ('RoIs with scores or box deltas that are not finite give no '
          'detections, and there are some: the model has diverged, or half '
          'precision has overflowed')
SERVED = {'type', 'iou_threshold', 'split_thr', 'class_agnostic'}


class TopKPostprocess:
    """Mixin for box heads of the host: only the best candidates are decoded.

    The scores are the host's own. RoIs with scores or deltas that are not
    finite are dropped, as in the authors' code; the host would make boxes of
    NaN of them. Where ``class_nms`` cannot serve the settings (see
    ``is_served``), and for test-time augmentation, the host does everything.
    """

    def _predict_by_feat_single(
            self,
            roi: Tensor,
            cls_score: Tensor,
            bbox_pred: Optional[Tensor],
            img_meta: dict,
            rescale: bool = False,
            rcnn_test_cfg: Optional[ConfigDict] = None) -> InstanceData:
        host = super()._predict_by_feat_single
        if (rcnn_test_cfg is None or bbox_pred is None or not len(roi)
                or not is_served(rcnn_test_cfg.nms, rcnn_test_cfg.max_per_img,
                                 self.bbox_coder.encode_size)):
            return host(roi, cls_score, bbox_pred, img_meta, rescale,
                        rcnn_test_cfg)
        # Without box regression and NMS the host only scores.
        scores = host(roi, cls_score, None, img_meta).scores
        usable = mask_rows_(scores, bbox_pred, roi)
        is_broken = (~usable).any().to('cpu', non_blocking=True)
        found = class_nms(
            scores[:, :-1],
            partial(self._decode, roi, bbox_pred, img_meta,
                    rescale), rcnn_test_cfg.score_thr,
            rcnn_test_cfg.nms.iou_threshold, rcnn_test_cfg.max_per_img)
        # It has arrived by now: class_nms has waited for what came later.
        if is_broken:
            warn_each([BROKEN])
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
