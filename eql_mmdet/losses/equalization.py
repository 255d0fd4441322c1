"""Equalization Loss: K sigmoids, and a tail that is left in peace."""
from typing import Any, Dict, Optional, Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .contract import SigmoidContract
from .fused import equalization_roi_loss
from .tail_loss import TailLoss


@MODELS.register_module()
class EqualizationLoss(SigmoidContract, TailLoss):
    """Equalization Loss of [1] for box heads with K sigmoid outputs.

    Sum over categories, mean over RoIs; rows follow ``label_weights``. It
    declares the host's whole contract of a custom classification loss: K
    channels, sigmoid scores with a zero background column, accuracy among
    foreground RoIs.

    Which categories are protected is said by exactly one of
    ``frequency_threshold``, ``tail_ratio`` and ``decay``.

    Args:
        frequency_source: Where the image counts of the training set come
            from: ``'lvis_v0.5'``, ``'lvis_v1'``, a COCO/LVIS annotation
            file (``.json``) or a counts file (``.csv``) of
            ``tools/count_classes.py``. Its categories must be in label
            order.
        frequency_threshold: Categories in a strictly smaller share of the
            training images are protected (lambda in [1], in [0, 1]).
            1.77e-3 protects all rare and common categories of LVIS v0.5.
        tail_ratio: Share of all image counts that the protected categories
            may make up, in (0, 1].
        decay: Continuous protection T(f) of Sec. 4.4 of [1]:
            ``dict(type='exponential', a=400, n=2)`` for 1 - (a f)^n, or
            ``dict(type='gompertz', a=1, b=80, c=3000)`` for
            1 - a exp(-b exp(-c f)).
        num_images: Denominator of the frequencies. By default the images
            with at least one annotation (the authors' code); the paper uses
            all images of the set, 57,263 for LVIS v0.5.
        exclude_background: E(r) of [1] is 0 for background RoIs, which then
            teach all categories. With ``False`` it is 1 (the ablation
            "without E(r)" of [1]), and rare categories get no negative
            gradient from the background either.
        keep_verified: The rule of Sec. 4.2 of [1]: weight 1 for categories
            in the positive or negative set of the RoI's image, rare or not.
            The authors' code leaves it out. It needs the sets; see
            ``VerifiedRandomSampler``.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.
        classes: Names in label order; by default all categories of the
            source in its order. Data sets on the one reader fill it in.

    Raises:
        ValueError: If an argument is out of range, not exactly one way of
            choosing the tail is given, or the source cannot be read or
            lacks a class. Where the source is not there at all, the model
            can be tested, and a training forward raises it.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def __init__(self,
                 frequency_source: str,
                 frequency_threshold: Optional[float] = None,
                 tail_ratio: Optional[float] = None,
                 num_images: Optional[int] = None,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 decay: Optional[Dict[str, Any]] = None,
                 exclude_background: bool = True,
                 keep_verified: bool = False,
                 classes: Optional[Sequence[str]] = None) -> None:
        super().__init__(frequency_source, frequency_threshold, tail_ratio,
                         decay, num_images, classes, reduction, loss_weight)
        self.exclude_background = exclude_background
        self.keep_verified = keep_verified

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None,
                verified: Optional[Tensor] = None,
                image_index: Optional[Tensor] = None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            cls_score: (R, K) logits.
            label: (R,) int64 in [0, K]; K is background.
            weight: (R,) weight of each RoI.
            avg_factor: Divisor of the mean; by default R.
            reduction_override: Replaces ``reduction`` in this call.
            verified: (N, K) bool, True for categories in the positive or
                negative set of an image; with ``keep_verified`` only.
            image_index: (R,) int64 in [0, N), the image of each RoI.

        Returns:
            Scalar, or (R,) with reduction ``'none'``; float32 or better.

        Raises:
            ValueError: If shapes or the reduction are wrong, or if the sets
                of the images do not arrive with ``keep_verified``, or do
                without it.
        """
        self.check_trainable()
        self._check_sets(verified, image_index)
        tail = self.tail_mask
        self._check_logits(cls_score, label, tail.numel())
        if self.keep_verified:
            tail = torch.where(verified, 0, tail)  # (N, K)
        loss = equalization_roi_loss(cls_score, label, tail, image_index,
                                     self.exclude_background)
        return self._reduce(loss, weight, avg_factor, reduction_override)

    def _check_sets(self, verified: Optional[Tensor],
                    image_index: Optional[Tensor]) -> None:
        given = [verified is not None, image_index is not None]
        if given != [self.keep_verified] * 2:
            raise ValueError(
                f'expected verified and image_index with keep_verified=True, '
                f'and neither otherwise, but with '
                f'keep_verified={self.keep_verified} got '
                f'{given.count(True)} of them; EQLBBoxHead passes them')
        if verified is not None and (verified.ndim != 2 or verified.shape[1]
                                     != self.tail_mask.numel()):
            raise ValueError(
                f'expected verified (N, {self.tail_mask.numel()}), but got '
                f'{tuple(verified.shape)}')

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return (f'{super().extra_repr()}, '
                f'exclude_background={self.exclude_background}, '
                f'keep_verified={self.keep_verified}')
