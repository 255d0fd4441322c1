"""Losses for MMDetection: what training minimises, how testing scores."""
from typing import Dict, Optional, Tuple

import torch.nn as nn
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ..datasets.category_counts import load_counts
from ..datasets.frequency import (category_frequency, tail_mask, tail_ratio,
                                  threshold_for_tail_ratio)
from .functional import foreground_accuracy, sigmoid_scores
from .fused import equalization_roi_loss

REDUCTIONS = ('none', 'mean', 'sum')


@MODELS.register_module()
class EqualizationLoss(nn.Module):
    """Equalization Loss of [1] for box heads with K sigmoid outputs.

    Sum over categories, mean over RoIs; rows follow ``label_weights``. It
    declares the host's whole contract of a custom classification loss: K
    channels, sigmoid scores with a zero background column, accuracy among
    foreground RoIs.

    Args:
        frequency_source: Where the image counts of the training set come
            from: ``'lvis_v0.5'``, ``'lvis_v1'``, a COCO/LVIS annotation
            file (``.json``) or a counts file (``.csv``) of
            ``tools/count_classes.py``. Its categories must be in label
            order.
        frequency_threshold: Categories in a strictly smaller share of the
            training images are protected (lambda in [1], in [0, 1]).
            1.77e-3 protects all rare and common categories of LVIS v0.5.
        tail_ratio: Instead of the threshold: share of all image counts that
            the protected categories may make up, in (0, 1]. Exactly one of
            the two is given.
        num_images: Denominator of the frequencies. By default the images
            with at least one annotation (the authors' code); the paper uses
            all images of the set, 57,263 for LVIS v0.5.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If an argument is out of range, a category has no image
            or the source cannot be read.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self,
                 frequency_source: str,
                 frequency_threshold: Optional[float] = None,
                 tail_ratio: Optional[float] = None,
                 num_images: Optional[int] = None,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if (frequency_threshold is None) == (tail_ratio is None):
            raise ValueError(
                'expected exactly one of frequency_threshold (lambda) and '
                f'tail_ratio, but got {frequency_threshold} and {tail_ratio}')
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction to be one of {REDUCTIONS}, '
                             f'but got {reduction!r}')
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.source = frequency_source
        self.frequency_threshold, mask = _find_tail(frequency_source,
                                                    frequency_threshold,
                                                    tail_ratio, num_images)
        # A buffer follows the model to its device; the config rebuilds it,
        # so that no checkpoint carries a second opinion.
        self.register_buffer('tail_mask', mask, persistent=False)

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            cls_score: (R, K) logits.
            label: (R,) int64 in [0, K]; K is background.
            weight: (R,) weight of each RoI.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong.
        """
        reduction = reduction_override or self.reduction
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction_override to be one of '
                             f'{REDUCTIONS}, but got {reduction_override!r}')
        loss = equalization_roi_loss(cls_score, label, self.tail_mask)
        if loss.numel() == 0 and reduction == 'mean':
            reduction = 'sum'  # the mean of nothing is NaN, its sum is zero
            avg_factor = None
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction,
                                                     avg_factor)

    def get_cls_channels(self, num_classes: int) -> int:
        """Tell the head how many outputs it needs.

        Args:
            num_classes: K of the head.

        Returns:
            K: there is no background logit.

        Raises:
            ValueError: If the frequencies are of another number of
                categories.
        """
        if num_classes != self.tail_mask.numel():
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'frequency_source="{self.source}" has '
                f'{self.tail_mask.numel()} categories; make them agree')
        return num_classes

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Turn logits into test-time scores.

        Args:
            cls_score: (R, K) logits.

        Returns:
            (R, K + 1) sigmoid scores and a zero background column.
        """
        return sigmoid_scores(cls_score)

    def get_accuracy(self, cls_score: Tensor,
                     labels: Tensor) -> Dict[str, Tensor]:
        """Measure the accuracy among foreground RoIs for the log.

        Args:
            cls_score: (R, K) logits.
            labels: (R,) int64; K is background.

        Returns:
            ``acc_classes``, a scalar in percent.
        """
        return dict(acc_classes=foreground_accuracy(cls_score, labels))

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'source={self.source}, protected='
                f'{int(self.tail_mask.sum())}/{self.tail_mask.numel()}, '
                f'reduction={self.reduction}, loss_weight={self.loss_weight}')


def _find_tail(source: str, threshold: Optional[float],
               target_ratio: Optional[float],
               num_images: Optional[int]) -> Tuple[float, Tensor]:
    counts = load_counts(source)
    frequency = category_frequency(counts, num_images)
    if threshold is None:
        threshold = threshold_for_tail_ratio(frequency, counts.image_count,
                                             target_ratio)
    mask = tail_mask(frequency, threshold)
    print_log(
        f'EqualizationLoss protects {int(mask.sum())} of {mask.numel()} '
        f'categories of {source} (frequency < {threshold:.6g}), tail ratio '
        f'{100 * tail_ratio(counts.image_count, mask):.2f} %',
        logger='current')
    return threshold, mask
