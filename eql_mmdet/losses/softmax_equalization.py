"""Softmax Equalization Loss: a softmax that leaves out part of the tail."""
from typing import Any, Dict, Optional, Sequence

import torch
import torch.nn as nn
from mmdet.registry import MODELS
from torch import Tensor

from .contract import SoftmaxContract
from .functional import foreground_accuracy, softmax_equalization_loss
from .tail_loss import TailLoss


@MODELS.register_module()
class SoftmaxEqualizationLoss(SoftmaxContract, TailLoss):
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
        classes: See ``EqualizationLoss``.

    Raises:
        ValueError: If an argument is out of range, not exactly one way of
            choosing the tail is given, or the source cannot be read or
            lacks a class. Where the source is not there at all, the model
            can be tested, and a training forward raises it.

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
                 loss_weight: float = 1.0,
                 classes: Optional[Sequence[str]] = None) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f'expected gamma (a probability) in [0, 1], but '
                             f'got {gamma}')
        super().__init__(frequency_source, frequency_threshold, tail_ratio,
                         decay, num_images, classes, reduction, loss_weight)
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
        self.check_trainable()
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
        if not self.with_background:
            raise ValueError('expected with_background=True in a box head, '
                             'whose last channel is background, but got '
                             'False, which is for classifiers of K channels')
        return super().get_cls_channels(num_classes)

    def get_accuracy(self, cls_score: Tensor,
                     labels: Tensor) -> Dict[str, Tensor]:
        """Measure how often the best foreground score is right, for the log.

        Args:
            cls_score: (R, K + 1) logits.
            labels: (R,) int64; K is background.

        Returns:
            ``acc_classes``, a scalar in percent, among foreground RoIs.
        """
        logits = cls_score[:, :-1] if self.with_background else cls_score
        return dict(acc_classes=foreground_accuracy(logits, labels))

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'{super().extra_repr()}, gamma={self.gamma}, '
                f'with_background={self.with_background}')
