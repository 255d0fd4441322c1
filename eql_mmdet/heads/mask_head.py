"""The mask heads: how they start, and masks pasted where their boxes are."""
from typing import Optional, Tuple, Union

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead, HTCMaskHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from .num_classes import check_num_classes
from .paste import clear_outside, paste_crops
from .rle_masks import RLEMasks, UnpastedMasks


class _LargeVocabMasks:
    """What the mask heads share, whatever their network is."""

    def __init__(self,
                 rle: bool = False,
                 predictor_std: Optional[float] = None,
                 **kwargs) -> None:
        if predictor_std is not None and not predictor_std > 0:
            raise ValueError(f'expected predictor_std (a standard deviation) '
                             f'above 0, but got {predictor_std}')
        check_num_classes(kwargs)
        super().__init__(**kwargs)
        self.rle = rle
        self.predictor_std = predictor_std

    def init_weights(self) -> None:
        """Initialise as the host does, then the predictor."""
        super().init_weights()
        if self.predictor_std is not None:
            nn.init.normal_(self.conv_logits.weight, std=self.predictor_std)

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
        # Pictures of scores are rare, and a GPU pastes bitmaps well: host.
        if threshold < 0 or not (self.rle or bboxes.is_cpu):
            masks = super()._predict_by_feat_single(mask_preds, bboxes, labels,
                                                    img_meta, rcnn_test_cfg,
                                                    rescale, activate_map)
            return masks if threshold < 0 else clear_outside(masks, bboxes)
        scores = self._scores(mask_preds, labels, activate_map)
        size = _fit_to_image(bboxes, img_meta, rescale)
        if self.rle:
            # A copy: the host's boxes may be rescaled before it is pasted.
            boxes = bboxes.detach().clone()
            return RLEMasks(UnpastedMasks(scores, boxes, threshold), size)
        bitmaps = torch.zeros(len(scores), *size, dtype=torch.bool)
        crops = paste_crops(scores.float(), bboxes, size, threshold)
        for bitmap, (top, left, crop) in zip(bitmaps, crops):
            rows, columns = crop.shape
            bitmap[top:top + rows, left:left + columns] = crop
        return bitmaps

    def _scores(self, mask_preds: Tensor, labels: Tensor,
                activate_map: bool) -> Tensor:
        """Return (n, h, w) scores of the masks of the labels alone."""
        if self.class_agnostic:
            labels = torch.zeros_like(labels)
        row = torch.arange(len(labels), device=labels.device)
        # Averages, as of the stages of a cascade, are scores already.
        chosen = torch.as_tensor(
            mask_preds, device=labels.device)[row, labels].detach()
        return chosen if activate_map else chosen.sigmoid()


@MODELS.register_module()
class LargeVocabMaskHead(_LargeVocabMasks, FCNMaskHead):
    """The host's mask head, for thousands of categories.

    It is faster at test time; the masks are those of the host on a CPU, bit
    for bit. And its predictor may start from small normal weights, as in
    [1]: the host draws them with a standard deviation of sqrt(2 / K), and
    takes no ``init_cfg``. With a mask for each of K categories, most of what
    it draws is hardly ever trained.

    Args:
        rle: Whether to hand masks over as ``RLEMasks``, without a bitmap of
            the whole image for each; for ``LVISEvalMetric``, pictures and
            dumps (MMDetection's ``CocoMetric`` wants bitmaps). They are
            pasted and encoded when somebody asks for them; until then, 28 x
            28 scores a mask stay on the device of the model.
        predictor_std: Standard deviation of the predictor's first weights,
            above 0; 0.001 in [1]. By default the host's.
        **kwargs: The host's ``FCNMaskHead`` arguments.

    Raises:
        ValueError: If ``predictor_std`` is not positive.

    [1] Wu et al., Detectron2, 2019,
        https://github.com/facebookresearch/detectron2
    """


@MODELS.register_module()
class LargeVocabHTCMaskHead(_LargeVocabMasks, HTCMaskHead):
    """The same for Hybrid Task Cascade, whose stages hand on features.

    Args:
        rle: See ``LargeVocabMaskHead``, as for the next.
        predictor_std: Standard deviation of the predictor's first weights.
        **kwargs: The host's ``HTCMaskHead`` arguments.

    Raises:
        ValueError: If ``predictor_std`` is not positive.
    """


def _fit_to_image(boxes: Tensor, img_meta: dict,
                  rescale: bool) -> Tuple[int, int]:
    """Return the size of the masks; boxes are rescaled in place.

    In place, because with masks nobody else rescales the boxes.
    """
    height, width = img_meta['ori_shape'][:2]
    # On the CPU, so that no device is waited for.
    scale = torch.tensor(img_meta['scale_factor'], dtype=boxes.dtype)
    if rescale:
        boxes /= scale.repeat(2).to(boxes.device)
        return height, width
    # The factors as float32, as the host rounds them.
    return (round(height * scale[1].item()), round(width * scale[0].item()))
