"""Equalization Loss of whole RoIs, without any (R, K) target or weight."""
from typing import Iterator, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .functional import (check_shapes, equalization_loss, equalization_weight,
                         one_hot_targets)

#: Scores worked on at once. On a CPU the pieces of 1 MiB stay in the cache
#: between two operations; elsewhere launches cost more than memory.
CPU_CHUNK = 2**18
DEVICE_CHUNK = 2**24


def equalization_roi_loss(logits: Tensor, labels: Tensor,
                          tail_mask: Tensor) -> Tensor:
    """Sum Equalization Loss over the categories of every RoI.

    The same as ``equalization_loss(...).sum(dim=1)``, but the logits are
    read once for the value and once for the gradient, and the gradient is
    all that is written. Compiled, the definition itself is used, which the
    compiler fuses. Gradients of any order, for ``logits`` only.

    A category of weight 0 adds exactly nothing and gets a gradient of
    exactly 0, even where its logit is infinite. A NaN stays visible.

    Args:
        logits: (R, K) raw scores z_j; any layout, any floating type.
        labels: (R,) int64; K is background.
        tail_mask: (K,) in [0, 1], T_lambda(f_j), a constant.

    Returns:
        (R,) loss of every RoI, computed in float32 or better; to be
        weighted and reduced over RoIs.

    Raises:
        ValueError: If the shapes do not belong together, or ``tail_mask``
            asks for a gradient or, under ``torch.vmap``, differs within the
            batch.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    check_shapes(logits, labels, tail_mask)
    if tail_mask.requires_grad:
        raise ValueError('expected a constant tail_mask, but got one with '
                         'requires_grad; use equalization_loss for it')
    if torch.compiler.is_compiling():
        return equalization_loss(logits, labels, tail_mask).sum(dim=1)
    return _RoILoss.apply(logits, labels, tail_mask)


class _RoILoss(Function):

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, tail_mask: Tensor) -> Tensor:
        weights = _weights_by_kind(tail_mask.to(_math_type(logits)))
        # Bounds and not only weights, since 0 times infinity is NaN.
        bounds = torch.zeros_like(weights).masked_fill_(
            weights > 0, float('inf'))
        background, column, score = _label_scores(logits, labels)
        own_loss = F.softplus(torch.where(background[:, None], score, -score))
        sums = []
        for z, kind, y, own in _chunks(logits, background.long(), column,
                                       own_loss):
            loss = F.softplus(z.to(own.dtype))
            torch.minimum(loss, bounds.index_select(0, kind), out=loss)
            loss.mul_(weights.index_select(0, kind)).scatter_(1, y, own)
            sums.append(loss.sum(dim=1))
        return torch.cat(sums)

    @staticmethod
    def setup_context(ctx, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple:
        return _RoIGradient.apply(grad, *ctx.saved_tensors), None, None

    @staticmethod
    def vmap(info, in_dims: Tuple, *tensors: Tensor) -> Tuple[Tensor, int]:
        return _as_more_rois(_RoILoss, info.batch_size, in_dims, tensors)


class _RoIGradient(Function):
    """The gradient of ``_RoILoss``, a function that can be derived again."""

    @staticmethod
    def forward(grad: Tensor, logits: Tensor, labels: Tensor,
                tail_mask: Tensor) -> Tensor:
        weights = _weights_by_kind(tail_mask.to(grad))
        background, column, score = _label_scores(logits, labels)
        result = torch.empty_like(logits)
        for z, kind, scale, out in _chunks(logits, background.long(),
                                           grad[:, None], result):
            weight = weights.index_select(0, kind).mul_(scale)
            torch.mul(z.to(grad.dtype).sigmoid(), weight, out=out)
        # Not sigmoid(z) - 1, which has no digits left where z is large.
        own = grad[:, None] * torch.where(background[:, None], score.sigmoid(),
                                          -(-score).sigmoid())
        return result.scatter_(1, column, own.to(result))

    @staticmethod
    def setup_context(ctx, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, second: Tensor) -> Tuple:
        # Whole matrices of plain operations: rare, and again differentiable.
        grad, logits, labels, tail_mask = ctx.saved_tensors
        weight = equalization_weight(labels, tail_mask.to(grad)) * second
        score = logits.to(grad).sigmoid()
        target = one_hot_targets(labels, tail_mask.numel()).to(grad)
        slope = grad[:, None] * weight * score * (1 - score)
        return ((weight * (score - target)).sum(dim=1), slope.to(logits), None,
                None)

    @staticmethod
    def vmap(info, in_dims: Tuple, *tensors: Tensor) -> Tuple[Tensor, int]:
        return _as_more_rois(_RoIGradient, info.batch_size, in_dims, tensors)


def _math_type(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _weights_by_kind(tail_mask: Tensor) -> Tensor:
    """(2, K) weights of the other categories: foreground, background."""
    return torch.stack([1 - tail_mask, torch.ones_like(tail_mask)])


def _label_scores(logits: Tensor,
                  labels: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """(R,) background, (R, 1) column whose weight is 1, (R, 1) its logit.

    Background has no label among the K; any column does, since all of its
    weights are 1.
    """
    num_classes = logits.shape[1]
    background = (labels < 0) | (labels >= num_classes)
    column = labels.clamp(0, num_classes - 1)[:, None]
    return background, column, logits.gather(1, column).to(_math_type(logits))


def _chunks(logits: Tensor, *by_row: Tensor) -> Iterator[Tuple[Tensor, ...]]:
    """Split tensors of R rows alike, so that few scores are in work."""
    size = CPU_CHUNK if logits.device.type == 'cpu' else DEVICE_CHUNK
    rows = max(1, size // logits.shape[1])
    return zip(*(tensor.split(rows) for tensor in (logits, *by_row)))


def _as_more_rois(function: Function, batch_size: int, in_dims: Tuple,
                  tensors: Tuple[Tensor, ...]) -> Tuple[Tensor, int]:
    """RoIs are independent, so that a batch of R is R times as many."""
    *by_roi, tail_mask = tensors
    if in_dims[-1] is not None:
        raise ValueError('expected one tail_mask for the whole batch, but '
                         f'got {batch_size}')
    moved = [
        t.expand(batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(by_roi, in_dims)
    ]
    result = function.apply(*(t.flatten(0, 1) for t in moved), tail_mask)
    return result.unflatten(0, moved[0].shape[:2]), 0
