"""Box heads with calibrated scores, and which losses allow them."""
from typing import Any, Mapping, Optional

import torch
from torch import Tensor, nn

from .calibration import Calibration, read_settings


def check_softmax(head: nn.Module) -> None:
    """Refuse a head whose scores are no softmax of its K + 1 logits.

    Args:
        head: A box head of the host, built.

    Raises:
        ValueError: If its loss trains anything else.
    """
    loss, channels = head.loss_cls, head.num_classes + 1
    if head.custom_cls_channels:
        found = loss.get_cls_channels(head.num_classes)
        # Asked and not assumed: K + 1 channels may be sigmoids too.
        probe = torch.linspace(-1, 1, channels, device='cpu')[None]
        is_softmax = found == channels and torch.allclose(
            loss.get_activation(probe.clone()), probe.softmax(dim=1))
    else:
        found = channels
        is_softmax = not getattr(loss, 'use_sigmoid', False)
    if not is_softmax:
        raise ValueError(
            f'calibration expects a loss that trains a softmax over the '
            f'{head.num_classes} categories and background, {channels} '
            f'channels, but {type(loss).__name__} has {found} channels '
            f'{"" if found != channels else "that are no softmax "}here; set '
            f'calibration=None, or train with CrossEntropyLoss or another '
            f'such softmax loss')


class CalibratedScores:
    """Mixin for box heads of the host: calibration at test time.

    The logits are changed before the host, or what stands behind this in
    the order of the bases, makes scores of them; training never sees it. In
    a cascade the host averages the logits of all stages and asks the last
    head: only its calibration is used.

    Args:
        calibration: None, or a dict with

            - ``type``: ``'norcal'``, ``'logit_adjustment'`` or ``'fracal'``;
            - ``frequency_source``: counts of the training set, as for the
              losses; for ``'fracal'`` an annotation file. None takes the
              file of the training set of the config;
            - ``gamma`` of ``'norcal'`` (the paper's is 0.6), ``tau`` of
              ``'logit_adjustment'`` (the paper's is 1), or
              ``dimension_power`` of ``'fracal'`` (lambda; 2 by default,
              as released);
            - ``classes``: names in label order, where they are not all of
              the source in its order.
        **kwargs: For the host.

    Raises:
        ValueError: If the settings are wrong, the source is not there or
            does not fit the head, or the loss trains no softmax of K + 1
            channels.
    """

    def __init__(self,
                 calibration: Optional[Mapping] = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calibration = None
        if calibration is not None:
            settings = read_settings(calibration)
            check_softmax(self)
            self.calibration = Calibration(settings, self.num_classes)

    def _predict_by_feat_single(self, roi: Tensor, cls_score: Optional[Tensor],
                                *args: Any, **kwargs: Any) -> Any:
        if self.calibration is not None and cls_score is not None:
            cls_score = self.calibration(cls_score)
        return super()._predict_by_feat_single(roi, cls_score, *args, **kwargs)
