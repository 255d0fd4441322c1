"""The mask head: masks are pasted where their boxes are."""
from typing import Tuple, Union

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor

from ..evaluation.masks import encode_crop
from .paste import paste_crops
from .rle_masks import RLEMasks


@MODELS.register_module()
class CropFCNMaskHead(FCNMaskHead):
    """The host's mask head, faster at test time.

    The masks are those of the host on a CPU, bit for bit.

    Args:
        rle: Whether to hand masks over as ``RLEMasks``, without a bitmap of
            the whole image for each; for ``LVISEvalMetric``, pictures and
            dumps (MMDetection's ``CocoMetric`` wants bitmaps). On an
            accelerator the sampling then moves to the CPU, with 28 x 28
            scores a mask instead of bitmaps to copy.
        **kwargs: The host's ``FCNMaskHead`` arguments.
    """

    def __init__(self, rle: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.rle = rle

    def _predict_by_feat_single(
            self,
            mask_preds: Tensor,
            bboxes: Tensor,
            labels: Tensor,
            img_meta: dict,
            rcnn_test_cfg: ConfigDict,
            rescale: bool = False,
            activate_map: bool = False) -> Union[Tensor, RLEMasks]:
        threshold = rcnn_test_cfg.mask_thr_binary
        # Averages of augmentations and pictures of scores are rare: host.
        if activate_map or threshold < 0 or not (self.rle or bboxes.is_cpu):
            return super()._predict_by_feat_single(mask_preds, bboxes, labels,
                                                   img_meta, rcnn_test_cfg,
                                                   rescale, activate_map)
        if self.class_agnostic:
            labels = torch.zeros_like(labels)
        row = torch.arange(len(labels), device=labels.device)
        masks = mask_preds[row, labels].sigmoid().float().cpu()
        size = _fit_to_image(bboxes, img_meta, rescale)
        crops = paste_crops(masks, bboxes.cpu(), size, threshold)
        if self.rle:
            return RLEMasks([
                encode_crop(crop.numpy(), top, left, size)
                for top, left, crop in crops
            ], size)
        bitmaps = torch.zeros(len(masks), *size, dtype=torch.bool)
        for bitmap, (top, left, crop) in zip(bitmaps, crops):
            rows, columns = crop.shape
            bitmap[top:top + rows, left:left + columns] = crop
        return bitmaps


def _fit_to_image(boxes: Tensor, img_meta: dict,
                  rescale: bool) -> Tuple[int, int]:
    """Return the size of the masks; boxes are rescaled in place.

    In place, because with masks nobody else rescales the boxes.
    """
    height, width = img_meta['ori_shape'][:2]
    scale = boxes.new_tensor(img_meta['scale_factor'])
    if rescale:
        boxes /= scale.repeat(2)
        return height, width
    # The factors as float32, as the host rounds them.
    return (round(height * scale[1].item()), round(width * scale[0].item()))
