"""What the losses with a tail share: its choice."""
from typing import Any, Dict, Optional, Sequence

from mmengine.logging import print_log

from ..annotations.category_counts import CategoryCounts
from ..rarity.tail import check_choice, choose_tail
from .counts_loss import CountsLoss


class TailLoss(CountsLoss):
    """Base of both losses of [1], which protect the tail of the counts.

    Args:
        frequency_source: See ``CountsLoss``.
        frequency_threshold: See ``EqualizationLoss``, as for the next three.
        tail_ratio: Instead of the threshold.
        decay: Instead of the threshold.
        num_images: Denominator of the frequencies.
        classes: See ``CountsLoss``.
        reduction: See ``CountsLoss``.
        loss_weight: See ``CountsLoss``.

    Raises:
        ValueError: As in ``CountsLoss``, or if an argument is out of range
            or not exactly one way of choosing the tail is given.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def __init__(self, frequency_source: str,
                 frequency_threshold: Optional[float],
                 tail_ratio: Optional[float], decay: Optional[Dict[str, Any]],
                 num_images: Optional[int], classes: Optional[Sequence[str]],
                 reduction: str, loss_weight: float) -> None:
        super().__init__(frequency_source, classes, reduction, loss_weight)
        self.frequency_threshold = frequency_threshold
        self.num_images = num_images
        self._choice = check_choice(frequency_threshold, tail_ratio, decay)
        #: (K,) buffer, T(f_j).
        self.register_buffer('tail_mask', None, persistent=False)
        self.load_counts()

    def _use_counts(self, counts: CategoryCounts) -> None:
        tail = choose_tail(counts, **self._choice, num_images=self.num_images)
        self.frequency_threshold = tail.threshold
        print_log(f'{type(self).__name__} {tail.summary}', logger='current')
        self.tail_mask = tail.mask

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        tail = 'unknown'
        if self.tail_mask is not None:
            tail = f'{self.tail_mask.sum():.4g}/{self.tail_mask.numel()}'
        return f'protected={tail}, {super().extra_repr()}'
