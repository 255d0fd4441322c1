"""Seesaw loss of the host, counting for all processes and without a loop."""
from typing import Dict, Optional, Union

import torch
from mmdet.models.losses import SeesawLoss, cross_entropy
from mmdet.registry import MODELS
from torch import Tensor

from .functional import float32_or_better
from .memory import sum_over_ranks


@MODELS.register_module()
class SyncSeesawLoss(SeesawLoss):
    """Seesaw loss of [1] whose counts are those of all processes.

    The host's ``SeesawLoss`` counts the labels of its own process only, by a
    Python loop over them, and every process goes on with other counts. Here
    they are added up over the processes, in one ``all_reduce`` a forward
    pass, and without the loop. On one process it is equal to the host's, bit
    by bit, and checkpoints go both ways.

    It counts while it trains: in training mode, with gradients. Every
    process must call it in every step, also for a batch without RoIs, as
    ``EQLBBoxHead`` does. The loss is computed in float32 or better.

    Args:
        num_classes: K; by default that of the head, which tells it.
        **kwargs: The host's ``SeesawLoss`` arguments.

    [1] Wang et al., CVPR 2021, https://arxiv.org/abs/2008.10032
    """

    def __init__(self, num_classes: Optional[int] = None, **kwargs) -> None:
        super().__init__(num_classes=num_classes or 0, **kwargs)
        if num_classes is None:
            self.num_classes = None
            self.cum_samples = None

    def get_cls_channels(self, num_classes: int) -> int:
        """Tell the head how many outputs it needs, and learn its K.

        Args:
            num_classes: K of the head.

        Returns:
            K + 2: the last two are object and background.

        Raises:
            ValueError: If the loss knows of another number of categories.
        """
        if self.num_classes is None:
            self.num_classes = num_classes
            self.cum_samples = torch.zeros(num_classes + 1)
        if num_classes != self.num_classes:
            raise ValueError(
                f'the head has num_classes={num_classes}, but SyncSeesawLoss '
                f'counts {self.num_classes} categories; leave num_classes of '
                f'the loss out, and give every head a loss of its own')
        return super().get_cls_channels(num_classes)

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
            cls_score: (R, K + 2) logits.

        Returns:
            (R, K + 1) scores, float32 or better, the last one background;
            rows sum to 1.
        """
        return super().get_activation(float32_or_better(cls_score))

    def get_accuracy(self, cls_score: Tensor,
                     labels: Tensor) -> Dict[str, Tensor]:
        """Measure the accuracy for the log.

        Args:
            cls_score: (R, K + 2) logits; torch 2.1 ranks none of half
                precision on a CPU.
            labels: (R,) int64; K is background.

        Returns:
            ``acc_objectness`` and ``acc_classes``, in percent.
        """
        return super().get_accuracy(float32_or_better(cls_score), labels)

    def forward(
        self,
        cls_score: Tensor,
        labels: Tensor,
        label_weights: Optional[Tensor] = None,
        avg_factor: Optional[float] = None,
        reduction_override: Optional[str] = None
    ) -> Union[Tensor, Dict[str, Tensor]]:
        """Compute the loss of one batch, after counting it.

        Adapted from mmdet 3.3 (Apache-2.0): the loop over the labels is
        gone, and the foreground is looked up once.

        Args:
            cls_score: (R, K + 2) logits.
            labels: (R,) int64 in [0, K]; K is background.
            label_weights: (R,) weight of each RoI.
            avg_factor: Divisor of the means; by default the number of
                foreground RoIs, and of all for the objectness.
            reduction_override: Replaces ``reduction`` in this call.

        Returns:
            ``loss_cls_objectness`` and ``loss_cls_classes``, or their sum
            with ``return_dict=False``.

        Raises:
            ValueError: If the logits have not K + 2 columns.
        """
        self._check_logits(cls_score)
        if self.training and torch.is_grad_enabled():
            self.cum_samples += _count_everywhere(labels, self.cum_samples)
        reduction = reduction_override or self.reduction
        if not len(labels) and reduction == 'mean':
            # The mean of nothing is NaN, its sum is zero.
            reduction, avg_factor = 'sum', None
        if label_weights is None:
            label_weights = torch.ones_like(labels, dtype=torch.float)
        classes, objectness = self._split_cls_score(
            float32_or_better(cls_score))
        # The one place that waits for the device; the sum over the rest
        # would round otherwise than the host's.
        index = (labels < self.num_classes).nonzero().squeeze(1)
        loss_classes = classes[index].sum()
        if len(index):
            loss_classes = self.loss_weight * self.cls_criterion(
                classes[index], labels[index], label_weights[index],
                self.cum_samples[:-1], self.num_classes, self.p, self.q,
                self.eps, reduction, avg_factor)
        loss_objectness = self.loss_weight * cross_entropy(
            objectness, (labels == self.num_classes).long(), label_weights,
            reduction, avg_factor)
        if not self.return_dict:
            return loss_classes + loss_objectness
        return dict(
            loss_cls_objectness=loss_objectness, loss_cls_classes=loss_classes)

    def _check_logits(self, cls_score: Tensor) -> None:
        if self.num_classes is None:
            raise ValueError('SyncSeesawLoss does not know its number of '
                             'categories: expected num_classes, or a box '
                             'head that tells it')
        if cls_score.ndim != 2 or cls_score.shape[1] != self.num_classes + 2:
            raise ValueError(
                f'SyncSeesawLoss expects logits (R, {self.num_classes + 2}), '
                f'but got {tuple(cls_score.shape)}')


def _count_everywhere(labels: Tensor, like: Tensor) -> Tensor:
    """(K + 1,) RoIs by label, of all processes."""
    count = torch.zeros_like(like).index_add_(
        0, labels, torch.ones_like(labels, dtype=like.dtype))
    return sum_over_ranks(count)
