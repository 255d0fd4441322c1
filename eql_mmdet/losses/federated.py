"""Federated loss: K sigmoids, of which a batch teaches a few."""
from typing import Optional, Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ..annotations.category_counts import CategoryCounts
from ..rarity.weights import check_power, draw_weights
from .contract import SigmoidContract
from .counts_loss import CountsLoss
from .functional import background_rois
from .fused import equalization_roi_loss


@MODELS.register_module()
class FederatedLoss(SigmoidContract, CountsLoss):
    """Federated loss (FedLoss) of CenterNet2 [1], also of Detic.

    Sigmoid cross-entropy over the categories that are labels of the batch
    and others drawn at random, ``num_sampled`` in all, without replacement
    and with chances proportional to ``image_count ** power``. All other
    categories weigh 0 in this batch. Sum over categories, mean over RoIs.

    As in the authors' code, background is one of the ``num_sampled`` where
    the batch has any. If there are no more than ``num_sampled`` categories,
    all of them count; if more are labels of the batch, all of these do. A
    category without a training image is never drawn.

    Every process draws for its own batch, from torch's generator of the
    logits' device, which the host seeds (``randomness``).

    Args:
        frequency_source: See ``CountsLoss``.
        num_sampled: Categories that count in a batch; 50 in [1].
        power: Of the image counts, in [0, 1]; 0.5 in [1].
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.
        classes: See ``CountsLoss``.

    Raises:
        ValueError: As in ``CountsLoss``, or if an argument is out of range.

    [1] Zhou et al., Probabilistic two-stage detection, 2021,
    https://arxiv.org/abs/2103.07461
    """

    def __init__(self,
                 frequency_source: str,
                 num_sampled: int = 50,
                 power: float = 0.5,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 classes: Optional[Sequence[str]] = None) -> None:
        if num_sampled != int(num_sampled) or num_sampled < 1:
            raise ValueError(f'expected num_sampled, a number of categories, '
                             f'of at least 1, but got {num_sampled}')
        check_power(power)
        super().__init__(frequency_source, classes, reduction, loss_weight)
        self.num_sampled = num_sampled
        self.power = power
        #: (K,) buffer, chances of being drawn, up to a factor.
        self.register_buffer('draw_weight', None, persistent=False)
        self.load_counts()

    def _use_counts(self, counts: CategoryCounts) -> None:
        self.draw_weight = draw_weights(counts, self.power)

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
        self.check_trainable()
        chances = self.draw_weight
        self._check_logits(cls_score, label, chances.numel())
        uniform = torch.rand(chances.shape, device=chances.device)
        counted = federated_mask(label, chances, self.num_sampled, uniform)
        # Equalization Loss whose tail is all that was not drawn, and which
        # every RoI spares, background too.
        loss = equalization_roi_loss(
            cls_score, label, 1 - counted, exclude_background=False)
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'{super().extra_repr()}, num_sampled={self.num_sampled}, '
                f'power={self.power}')


def federated_mask(labels: Tensor, draw_weight: Tensor, num_sampled: int,
                   uniform: Tensor) -> Tensor:
    """Choose the categories that a batch teaches.

    The labels, and of the others those that come first in a race: category
    j arrives at the time E_j / w_j with E_j exponential. The first is j with
    the probability w_j / sum(w), and so on among the rest, which is drawing
    one after the other without replacement. Nothing is read back from the
    device, and no size depends on the labels.

    Args:
        labels: (R,) int64; K is background.
        draw_weight: (K,) w_j, at least 0; 0 is never drawn.
        num_sampled: Categories in all; background, if any RoI is, counts as
            one of them.
        uniform: (K,) random numbers in [0, 1).

    Returns:
        (K,) 1.0 for the chosen categories, 0.0 otherwise; all 1.0 if there
        are no more than ``num_sampled``.
    """
    num_classes = draw_weight.numel()
    if num_classes <= num_sampled:
        return torch.ones_like(draw_weight)
    columns = torch.where(
        background_rois(labels, num_classes), num_classes, labels)
    present = torch.zeros(
        num_classes + 1, dtype=torch.bool, device=labels.device)
    present = present.scatter(0, columns, True)
    present, background = present[:-1], present[-1]
    arrival = -torch.log1p(-uniform) / draw_weight
    # A race that cannot be won; 0 / 0 where the random number is 0, too.
    arrival = arrival.masked_fill(draw_weight == 0, torch.inf)
    arrival = arrival.masked_fill(present, -1)
    first, order = arrival.topk(num_sampled, largest=False)
    place = torch.arange(num_sampled, device=labels.device)
    drawn = (place < num_sampled - background.long()) & first.isfinite()
    # Beyond num_sampled labels, all of them, whatever the race said.
    chosen = present.scatter(0, order, drawn) | present
    return chosen.to(draw_weight)
