"""What a box head asks of a classification loss, and how losses answer."""
from typing import Any, Dict, Optional

import torch.nn as nn
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor

from .functional import foreground_accuracy, sigmoid_scores, softmax_scores

PLACE = (
    'the box heads of two-stage detectors (roi_head.bbox_head); one-stage '
    'detectors and DETR need another loss')
REDUCTIONS = ('none', 'mean', 'sum')


class BoxLoss(nn.Module):
    """Base of the losses of a box head: the reduction and the contract.

    A loss answers four questions of its head: how many channels it wants
    for K categories (``get_cls_channels``), which of them are sigmoids that
    start at a prior (``get_sigmoid_channels``), how logits become
    (R, K + 1) scores with background last (``get_activation``), and what
    accuracy means (``get_accuracy``). The host reads three flags instead of
    looking for these methods.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If the reduction is another.
    """

    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self, reduction: str, loss_weight: float) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction to be one of {REDUCTIONS}, '
                             f'but got {reduction!r}')
        self.reduction = reduction
        self.loss_weight = loss_weight

    def __getattr__(self, name: str) -> Any:
        if name == 'use_sigmoid':  # other heads ask for it, ours do not
            raise AttributeError(
                f'{type(self).__name__} has no use_sigmoid: it is for {PLACE}')
        return super().__getattr__(name)

    def check_classes(self, num_classes: int) -> None:
        """Refuse a head of another number of categories.

        Args:
            num_classes: K of the head.

        Raises:
            ValueError: If the loss knows of another number.
        """

    def _check_logits(self, cls_score: Tensor, label: Tensor,
                      columns: int) -> None:
        if (cls_score.ndim != 2 or cls_score.shape[1] != columns
                or label.shape != cls_score.shape[:1]):
            raise ValueError(
                f'{type(self).__name__} expects logits (R, {columns}) and '
                f'labels (R,), but got {tuple(cls_score.shape)} and '
                f'{tuple(label.shape)}; it is for {PLACE}')

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

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return f'reduction={self.reduction}, loss_weight={self.loss_weight}'


class SigmoidContract:
    """Mixin for K sigmoids: no channel is background."""

    def get_cls_channels(self, num_classes: int) -> int:
        """Tell the head how many outputs it needs.

        Args:
            num_classes: K of the head.

        Returns:
            K: there is no background logit.

        Raises:
            ValueError: If the loss knows of another number of categories.
        """
        self.check_classes(num_classes)
        return num_classes

    def get_sigmoid_channels(self, num_classes: int) -> slice:
        """Tell the head which outputs are sigmoids that start at a prior.

        Args:
            num_classes: K of the head.

        Returns:
            All K.
        """
        return slice(num_classes)

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


class BackgroundContract:
    """Mixin for K categories and background, the last channel."""

    def get_cls_channels(self, num_classes: int) -> int:
        """Tell the head how many outputs it needs.

        Args:
            num_classes: K of the head.

        Returns:
            K + 1: the last one is background.

        Raises:
            ValueError: If the loss knows of another number of categories.
        """
        self.check_classes(num_classes)
        return num_classes + 1

    def get_accuracy(self, cls_score: Tensor,
                     labels: Tensor) -> Dict[str, Tensor]:
        """Measure how often the best foreground score is right, for the log.

        Args:
            cls_score: (R, K + 1) logits.
            labels: (R,) int64; K is background.

        Returns:
            ``acc_classes``, a scalar in percent, among foreground RoIs.
        """
        return dict(acc_classes=foreground_accuracy(cls_score[:, :-1], labels))


class SoftmaxContract(BackgroundContract):
    """Mixin for a softmax over K categories and background, the last."""

    def get_sigmoid_channels(self, num_classes: int) -> slice:
        """Tell the head which outputs are sigmoids that start at a prior.

        Args:
            num_classes: K of the head.

        Returns:
            None of them.
        """
        return slice(0)

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Turn logits into test-time scores.

        Args:
            cls_score: (R, K + 1) logits.

        Returns:
            (R, K + 1) softmax scores, the last one background.
        """
        return softmax_scores(cls_score)
