"""What the losses with a tail share: its choice, and the reduction."""
import logging
from typing import Any, Dict, Optional, Sequence

import torch.nn as nn
from mmdet.models.losses.utils import weight_reduce_loss
from mmengine.logging import print_log
from torch import Tensor

from ..annotations.category_counts import is_there, load_counts
from ..annotations.findings import list_findings
from ..annotations.names import check_names
from ..host.logs import warn_each
from ..rarity.tail import Tail, check_choice, choose_tail

PLACE = (
    'the box heads of two-stage detectors (roi_head.bbox_head); one-stage '
    'detectors and DETR need another loss')
REDUCTIONS = ('none', 'mean', 'sum')


class TailLoss(nn.Module):
    """What both losses share: the tail, the reduction, the host's contract."""

    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self, frequency_source: str,
                 frequency_threshold: Optional[float],
                 tail_ratio: Optional[float], decay: Optional[Dict[str, Any]],
                 num_images: Optional[int], classes: Optional[Sequence[str]],
                 reduction: str, loss_weight: float) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f'expected reduction to be one of {REDUCTIONS}, '
                             f'but got {reduction!r}')
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.source = frequency_source
        self.frequency_threshold = frequency_threshold
        #: K names in label order; None as long as nobody has told them.
        self.classes = None if classes is None else check_names(classes)
        #: (K,) buffer. It follows the model to its device; the config
        #: rebuilds it, so that no checkpoint carries a second opinion.
        self.register_buffer('tail_mask', None, persistent=False)
        choice = check_choice(frequency_threshold, tail_ratio, decay)
        if is_there(frequency_source):
            counts = load_counts(frequency_source, classes)
            warn_each(list_findings(counts.source, counts.findings))
            self.classes = counts.names
            self._set_tail(
                choose_tail(counts, **choice, num_images=num_images))
        else:
            print_log(
                f'{type(self).__name__}: there is no "{frequency_source}", '
                f'so this model can be tested but not trained',
                logger='current',
                level=logging.WARNING)

    def __getattr__(self, name: str) -> Any:
        if name == 'use_sigmoid':  # other heads ask for it, ours do not
            raise AttributeError(
                f'{type(self).__name__} has no use_sigmoid: it is for {PLACE}')
        return super().__getattr__(name)

    def _set_tail(self, tail: Tail) -> None:
        self.frequency_threshold = tail.threshold
        print_log(f'{type(self).__name__} {tail.summary}', logger='current')
        self.tail_mask = tail.mask

    def check_trainable(self) -> None:
        """Refuse to train without frequencies.

        Raises:
            ValueError: If the source of the frequencies was not there when
                the loss was built.
        """
        if self.tail_mask is None:
            raise ValueError(
                f'{type(self).__name__} needs the frequencies of the training '
                f'set, but there was no frequency_source="{self.source}"; '
                f'give the training annotations, or a counts file of '
                f'tools/count_classes.py')

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
        known = None if self.classes is None else len(self.classes)
        if known is not None and num_classes != known:
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'frequency_source="{self.source}" has {known} categories'
                f'; make them agree, or name the classes of the data set in '
                f'classes=(...) of the loss')

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        tail = 'unknown'
        if self.tail_mask is not None:
            tail = f'{self.tail_mask.sum():.4g}/{self.tail_mask.numel()}'
        return (f'source={self.source}, protected={tail}, '
                f'reduction={self.reduction}, loss_weight={self.loss_weight}')
