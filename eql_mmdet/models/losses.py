"""Losses for MMDetection: what training minimises, how testing scores."""
from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ..datasets.category_counts import load_counts
from ..datasets.tail import choose_tail
from .functional import (foreground_accuracy, sigmoid_scores,
                         softmax_equalization_loss)
from .fused import equalization_roi_loss

REDUCTIONS = ('none', 'mean', 'sum')


class _TailLoss(nn.Module):
    """What both losses share: the tail, the reduction, the host's contract."""

    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self, frequency_source: str,
                 frequency_threshold: Optional[float],
                 tail_ratio: Optional[float], decay: Optional[Dict[str, Any]],
                 num_images: Optional[int], reduction: str,
                 loss_weight: float) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction to be one of {REDUCTIONS}, '
                             f'but got {reduction!r}')
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.source = frequency_source
        tail = choose_tail(
            load_counts(frequency_source), frequency_threshold, tail_ratio,
            decay, num_images)
        self.frequency_threshold = tail.threshold
        print_log(f'{type(self).__name__} {tail.summary}', logger='current')
        # A buffer follows the model to its device; the config rebuilds it,
        # so that no checkpoint carries a second opinion.
        self.register_buffer('tail_mask', tail.mask, persistent=False)

    def _reduce(self, loss: Tensor, weight: Optional[Tensor],
                avg_factor: Optional[float],
                reduction_override: Optional[str]) -> Tensor:
        reduction = reduction_override or self.reduction
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction_override to be one of '
                             f'{REDUCTIONS}, but got {reduction_override!r}')
        if loss.numel() == 0 and reduction == 'mean':
            reduction = 'sum'  # the mean of nothing is NaN, its sum is zero
            avg_factor = None
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction,
                                                     avg_factor)

    def _check_classes(self, num_classes: int) -> None:
        if num_classes != self.tail_mask.numel():
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'frequency_source="{self.source}" has '
                f'{self.tail_mask.numel()} categories; make them agree')

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'source={self.source}, protected='
                f'{self.tail_mask.sum():.4g}/{self.tail_mask.numel()}, '
                f'reduction={self.reduction}, loss_weight={self.loss_weight}')


@MODELS.register_module()
class EqualizationLoss(_TailLoss):
    """Equalization Loss of [1] for box heads with K sigmoid outputs.

    Sum over categories, mean over RoIs; rows follow ``label_weights``. It
    declares the host's whole contract of a custom classification loss: K
    channels, sigmoid scores with a zero background column, accuracy among
    foreground RoIs.

    Which categories are protected is said by exactly one of
    ``frequency_threshold``, ``tail_ratio`` and ``decay``.

    Args:
        frequency_source: Where the image counts of the training set come
            from: ``'lvis_v0.5'``, ``'lvis_v1'``, a COCO/LVIS annotation
            file (``.json``) or a counts file (``.csv``) of
            ``tools/count_classes.py``. Its categories must be in label
            order.
        frequency_threshold: Categories in a strictly smaller share of the
            training images are protected (lambda in [1], in [0, 1]).
            1.77e-3 protects all rare and common categories of LVIS v0.5.
        tail_ratio: Share of all image counts that the protected categories
            may make up, in (0, 1].
        decay: Continuous protection T(f) of Sec. 4.4 of [1]:
            ``dict(type='exponential', a=400, n=2)`` for 1 - (a f)^n, or
            ``dict(type='gompertz', a=1, b=80, c=3000)`` for
            1 - a exp(-b exp(-c f)).
        num_images: Denominator of the frequencies. By default the images
            with at least one annotation (the authors' code); the paper uses
            all images of the set, 57,263 for LVIS v0.5.
        exclude_background: E(r) of [1] is 0 for background RoIs, which then
            teach all categories. With ``False`` it is 1 (the ablation
            "without E(r)" of [1]), and rare categories get no negative
            gradient from the background either.
        keep_verified: The rule of Sec. 4.2 of [1]: weight 1 for categories
            in the positive or negative set of the RoI's image, rare or not.
            The authors' code leaves it out. It needs the sets; see
            ``VerifiedRandomSampler``.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If an argument is out of range, not exactly one way of
            choosing the tail is given, a category has no image or the
            source cannot be read.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def __init__(self,
                 frequency_source: str,
                 frequency_threshold: Optional[float] = None,
                 tail_ratio: Optional[float] = None,
                 num_images: Optional[int] = None,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 decay: Optional[Dict[str, Any]] = None,
                 exclude_background: bool = True,
                 keep_verified: bool = False) -> None:
        super().__init__(frequency_source, frequency_threshold, tail_ratio,
                         decay, num_images, reduction, loss_weight)
        self.exclude_background = exclude_background
        self.keep_verified = keep_verified

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None,
                verified: Optional[Tensor] = None,
                image_index: Optional[Tensor] = None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            cls_score: (R, K) logits.
            label: (R,) int64 in [0, K]; K is background.
            weight: (R,) weight of each RoI.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.
            verified: (N, K) bool, True for categories in the positive or
                negative set of an image; with ``keep_verified`` only.
            image_index: (R,) int64 in [0, N), the image of each RoI.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong, or if the sets
                of the images do not arrive with ``keep_verified``, or do
                without it.
        """
        self._check_sets(verified, image_index)
        tail = self.tail_mask
        if self.keep_verified:
            tail = torch.where(verified, 0, tail)  # (N, K)
        loss = equalization_roi_loss(cls_score, label, tail, image_index,
                                     self.exclude_background)
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def _check_sets(self, verified: Optional[Tensor],
                    image_index: Optional[Tensor]) -> None:
        given = [verified is not None, image_index is not None]
        if given != [self.keep_verified] * 2:
            raise ValueError(
                f'expected verified and image_index with keep_verified=True, '
                f'and neither otherwise, but with '
                f'keep_verified={self.keep_verified} got '
                f'{given.count(True)} of them; EQLBBoxHead passes them')
        if verified is not None and (verified.ndim != 2 or verified.shape[1]
                                     != self.tail_mask.numel()):
            raise ValueError(
                f'expected verified (N, {self.tail_mask.numel()}), but got '
                f'{tuple(verified.shape)}')

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
        self._check_classes(num_classes)
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
        return (f'{super().extra_repr()}, '
                f'exclude_background={self.exclude_background}, '
                f'keep_verified={self.keep_verified}')


@MODELS.register_module()
class SoftmaxEqualizationLoss(_TailLoss):
    """Softmax Equalization Loss (SEQL) of [1].

    In the softmax of a sample a tail category other than its label is left
    out of the sum with the probability ``gamma``, drawn anew for every
    category and sample. With ``gamma=0`` it is cross-entropy to the last
    bit.

    In a box head (``Shared2FCBBoxHead``; ``EQLBBoxHead`` is for sigmoid
    losses) it asks the host for K + 1 channels, the last one background,
    which is never left out, and for softmax scores at test time. The paper
    has no E(r) here: background RoIs spare the tail as others do. As a
    plain classification loss (``with_background=False``) it has K channels.

    The mask comes from torch's generator of the logits' device, which the
    host seeds (``randomness``), so that it also works compiled.

    Args:
        frequency_source: See ``EqualizationLoss``, as for the next four.
        frequency_threshold: Lambda; 3e-3 for CIFAR-100-LT and 4.3e-4 for
            ImageNet-LT in [1].
        tail_ratio: Instead of the threshold.
        decay: Instead of the threshold; the weight of a tail category then
            is 1 - T(f) where it is drawn.
        num_images: Denominator of the frequencies.
        gamma: Probability of leaving a tail category out, in [0, 1]. The
            best in [1] are 0.95 (CIFAR-100-LT) and 0.9 (ImageNet-LT).
        with_background: Whether the last of K + 1 channels is background.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over samples.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If an argument is out of range, not exactly one way of
            choosing the tail is given, a category has no image or the
            source cannot be read.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def __init__(self,
                 frequency_source: str,
                 gamma: float,
                 frequency_threshold: Optional[float] = None,
                 tail_ratio: Optional[float] = None,
                 decay: Optional[Dict[str, Any]] = None,
                 num_images: Optional[int] = None,
                 with_background: bool = True,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f'expected gamma (a probability) in [0, 1], but '
                             f'got {gamma}')
        super().__init__(frequency_source, frequency_threshold, tail_ratio,
                         decay, num_images, reduction, loss_weight)
        self.gamma = gamma
        self.with_background = with_background

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            cls_score: (R, K + 1) logits, or (R, K) without background.
            label: (R,) int64, a column of ``cls_score``.
            weight: (R,) weight of each sample.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong.
        """
        tail = self.tail_mask
        if self.with_background:
            tail = nn.functional.pad(tail, (0, 1))
        drawn = torch.rand(cls_score.shape, device=cls_score.device)
        loss = softmax_equalization_loss(cls_score, label, tail, drawn
                                         < self.gamma)
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def get_cls_channels(self, num_classes: int) -> int:
        """Tell the head how many outputs it needs.

        Args:
            num_classes: K of the head.

        Returns:
            K + 1: the last one is background.

        Raises:
            ValueError: If the frequencies are of another number of
                categories, or the loss is one without background.
        """
        self._check_classes(num_classes)
        if not self.with_background:
            raise ValueError('expected with_background=True in a box head, '
                             'whose last channel is background, but got '
                             'False, which is for classifiers of K channels')
        return num_classes + 1

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Turn logits into test-time scores.

        Args:
            cls_score: (R, K + 1) logits.

        Returns:
            (R, K + 1) softmax scores, the last one background.
        """
        dtype = torch.promote_types(cls_score.dtype, torch.float32)
        return cls_score.softmax(dim=-1, dtype=dtype)

    def get_accuracy(self, cls_score: Tensor,
                     labels: Tensor) -> Dict[str, Tensor]:
        """Measure how often the best foreground score is right, for the log.

        Args:
            cls_score: (R, K + 1) logits.
            labels: (R,) int64; K is background.

        Returns:
            ``acc_classes``, a scalar in percent, among foreground RoIs.
        """
        logits = cls_score[:, :self.tail_mask.numel()]
        return dict(acc_classes=foreground_accuracy(logits, labels))

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'{super().extra_repr()}, gamma={self.gamma}, '
                f'with_background={self.with_background}')
