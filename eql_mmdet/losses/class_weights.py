"""Class weights: a softmax in which rare labels count more."""
from typing import Optional, Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from ..annotations.category_counts import CategoryCounts
from ..rarity.weights import check_power, class_weights
from .contract import SoftmaxContract
from .counts_loss import CountsLoss
from .functional import float32_or_better


@MODELS.register_module()
class ClassWeightedLoss(SoftmaxContract, CountsLoss):
    """Cross-entropy weighted by a power of the inverse image count.

    -w_y log(p_y) in a head of K categories and background, where background
    weighs 1 and w_j is that of ``eql_mmdet.rarity.weights.class_weights``:
    the mean weight of a foreground RoI is 1. The mean over RoIs divides by
    their number and not by the sum of their weights, so that a batch of rare
    objects counts more than one of frequent ones. With ``power=0`` it is
    cross-entropy to the last bit.

    Args:
        frequency_source: See ``CountsLoss``.
        power: In [0, 1]; 1 is the inverse count.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.
        classes: See ``CountsLoss``.

    Raises:
        ValueError: As in ``CountsLoss``, or if the power is out of range.
    """

    def __init__(self,
                 frequency_source: str,
                 power: float,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 classes: Optional[Sequence[str]] = None) -> None:
        check_power(power)
        super().__init__(frequency_source, classes, reduction, loss_weight)
        self.power = power
        #: (K + 1,) buffer, weight of a RoI by its label; 1 for background.
        self.register_buffer('class_weight', None, persistent=False)
        self.load_counts()

    def _use_counts(self, counts: CategoryCounts) -> None:
        self.class_weight = F.pad(
            class_weights(counts, self.power), (0, 1), value=1)

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
        self._check_logits(cls_score, label, self.class_weight.numel())
        logits = float32_or_better(cls_score)
        loss = F.cross_entropy(
            logits,
            label,
            weight=self.class_weight.to(logits),
            reduction='none')
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return f'{super().extra_repr()}, power={self.power}'
