"""Balanced softmax: training hears the prior, test time does not."""
from typing import Optional, Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from ..annotations.category_counts import CategoryCounts
from ..rarity.weights import log_prior
from .contract import SoftmaxContract
from .counts_loss import CountsLoss
from .functional import float32_or_better


@MODELS.register_module()
class BalancedSoftmaxLoss(SoftmaxContract, CountsLoss):
    """Balanced softmax of [1] for a head of K categories and background.

    Cross-entropy of z_j + log(n_j / sum_k n_k), with n_j the training images
    of category j, at least one; the background logit stays as it is. At test
    time scores are the plain softmax of z, as if all categories were equally
    frequent.

    Args:
        frequency_source: See ``CountsLoss``.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.
        classes: See ``CountsLoss``.

    Raises:
        ValueError: As in ``CountsLoss``.

    [1] Ren et al., NeurIPS 2020, https://arxiv.org/abs/2007.10740
    """

    def __init__(self,
                 frequency_source: str,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 classes: Optional[Sequence[str]] = None) -> None:
        super().__init__(frequency_source, classes, reduction, loss_weight)
        #: (K + 1,) buffer, added to the logits; 0 for background.
        self.register_buffer('log_prior', None, persistent=False)
        self.load_counts()

    def _use_counts(self, counts: CategoryCounts) -> None:
        self.log_prior = F.pad(log_prior(counts), (0, 1))

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            cls_score: (R, K + 1) logits.
            label: (R,) int64 in [0, K]; K is background.
            weight: (R,) weight of each RoI.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong.
        """
        self.check_trainable()
        self._check_logits(cls_score, label, self.log_prior.numel())
        logits = float32_or_better(cls_score)
        loss = F.cross_entropy(
            logits + self.log_prior, label, reduction='none')
        return self._reduce(loss, weight, avg_factor, reduction_override)
