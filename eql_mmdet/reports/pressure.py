"""What pushes the scores of every category up, and what pushes them down."""
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['Pressure', 'category_pressure']


class Pressure(NamedTuple):
    """Sums over the RoIs of a batch, by category; each (K,) float32.

    Attributes:
        up: Gradient towards a higher score, from the category's own RoIs.
        down_foreground: Gradient towards a lower score, from RoIs of other
            categories. This is what Equalization Loss takes from the tail.
        down_background: The same from background RoIs.
        own_score: Test-time scores on the category's own RoIs.
        own_rois: Number of these RoIs.
    """

    up: Tensor
    down_foreground: Tensor
    down_background: Tensor
    own_score: Tensor
    own_rois: Tensor


def category_pressure(gradient: Tensor, scores: Tensor, labels: Tensor,
                      num_classes: int) -> Pressure:
    """Sum the gradient of every category by where it comes from.

    The quantities behind Fig. 1 of [1]: in a long-tailed set the negative
    gradient of a rare category outweighs the positive one.

    Args:
        gradient: (R, C) derivative of the loss by the logits, C >= K; a
            column beyond K, the background of a softmax, is ignored.
        scores: (R, C) test-time scores of the same RoIs, C >= K.
        labels: (R,) int64; K is background.
        num_classes: K.

    Returns:
        The sums, on the device of ``gradient``.

    Raises:
        ValueError: If the shapes do not belong together.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    rois, columns = gradient.shape
    if (len(labels) != rois or len(scores) != rois
            or min(columns, scores.shape[1]) < num_classes):
        raise ValueError(
            f'expected gradient and scores with at least {num_classes} '
            f'columns and as many rows as labels, but got '
            f'{tuple(gradient.shape)}, {tuple(scores.shape)} and '
            f'{tuple(labels.shape)}')
    gradient = gradient[:, :num_classes].float()
    own = labels[:, None] == torch.arange(num_classes, device=labels.device)
    foreground = own.any(dim=1, keepdim=True)
    # A loss may raise other scores as well; only what lowers them counts.
    down = gradient.clamp(min=0).masked_fill(own, 0)
    return Pressure(
        up=-(gradient * own).sum(dim=0),
        down_foreground=(down * foreground).sum(dim=0),
        down_background=(down * ~foreground).sum(dim=0),
        own_score=(scores[:, :num_classes].float() * own).sum(dim=0),
        own_rois=own.float().sum(dim=0))
