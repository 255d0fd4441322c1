"""What the losses with a tail share: its choice, and the reduction."""
from typing import Any, Dict, Optional

import torch.nn as nn
from mmdet.models.losses.utils import weight_reduce_loss
from mmengine.logging import print_log
from torch import Tensor

from ..annotations.category_counts import load_counts
from ..rarity.tail import choose_tail

REDUCTIONS = ('none', 'mean', 'sum')


class TailLoss(nn.Module):
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
