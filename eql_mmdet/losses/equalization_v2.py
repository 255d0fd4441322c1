"""Equalization Loss v2: K + 1 sigmoids, balanced by their gradients."""
from typing import Optional

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .contract import BackgroundContract
from .functional import float32_or_better
from .gradient_balance import balanced_roi_loss, gradient_balance
from .memory import MemoryLoss, sum_over_ranks

#: The ratio of every category before the first batch, which is plain BCE.
START = dict(pos_grad=0., neg_grad=0., pos_neg=100.)


@MODELS.register_module()
class EqualizationLossV2(BackgroundContract, MemoryLoss):
    """Equalization Loss v2 of [1], as its authors have released it.

    Every category is a sigmoid of its own, and so is background, which is
    positive for background RoIs. The gradients that a category has got so
    far as a label and otherwise are accumulated; where the first are few,
    positives count more and negatives less, from the next batch on. No
    counts of the training set are needed, nor another sampling.

    Args:
        num_classes: K; by default that of the head.
        gamma: Steepness of the weighing.
        mu: Ratio of positive to negative gradients at which a category's
            negatives count one half.
        alpha: How much more the positives of a starved category count.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If the reduction is another, or the head has another
            number of categories.

    [1] Tan et al., CVPR 2021, https://arxiv.org/abs/2012.08548
    """

    def __init__(self,
                 num_classes: Optional[int] = None,
                 gamma: float = 12,
                 mu: float = 0.8,
                 alpha: float = 4,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__(START, num_classes, reduction, loss_weight)
        self.gamma = gamma
        self.mu = mu
        self.alpha = alpha

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss of one batch, and remember its gradients.

        Args:
            cls_score: (R, K + 1) logits, background last.
            label: (R,) int64 in [0, K]; K is background.
            weight: (R,) weight of each RoI, in the memory as in the loss.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong.
        """
        if self.num_classes is None:
            raise ValueError(
                'EqualizationLossV2 does not know how many categories there '
                'are: give num_classes, or use it in EQLBBoxHead')
        self._check_logits(cls_score, label, self.num_classes + 1)
        balance = gradient_balance(self.pos_neg, self.gamma, self.mu,
                                   self.alpha)
        counted = torch.ones_like(cls_score[:,
                                            0]) if weight is None else weight
        loss, sums = balanced_roi_loss(cls_score, label, balance, counted)
        if self.is_learning:
            self._remember(sums[:, :-1])
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def _remember(self, sums: Tensor) -> None:
        # In place: others hold these buffers, too.
        positive, negative = sum_over_ranks(sums)
        self.pos_grad += positive
        self.neg_grad += negative
        self.pos_neg.copy_(self.pos_grad / (self.neg_grad + 1e-10))

    def get_sigmoid_channels(self, num_classes: int) -> slice:
        """Tell the head which outputs are sigmoids that start at a prior.

        Args:
            num_classes: K of the head.

        Returns:
            All K + 1, as released.
        """
        return slice(num_classes + 1)

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Turn logits into test-time scores.

        Args:
            cls_score: (R, K + 1) logits.

        Returns:
            (R, K + 1) scores sigmoid(z_j) (1 - sigmoid(z_K)), float32 or
            better; the last column is the score of background itself.
        """
        logits = float32_or_better(cls_score)
        foreground = logits[:, :-1].sigmoid() * (-logits[:, -1:]).sigmoid()
        return torch.cat([foreground, logits[:, -1:].sigmoid()], dim=1)

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'gamma={self.gamma}, mu={self.mu}, alpha={self.alpha}, '
                f'{super().extra_repr()}')
