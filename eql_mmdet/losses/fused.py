"""Equalization Loss of whole RoIs, without any (R, K) target or weight."""
from typing import Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .functional import (background_rois, check_shapes, equalization_loss,
                         one_hot_targets)

try:
    from torch.compiler import is_compiling
except ImportError:  # torch before 2.3
    from torch._utils import is_compiling

#: Scores worked on at once. On a CPU the pieces of 1 MiB stay in the cache
#: between two operations; elsewhere launches cost more than memory.
CPU_CHUNK = 2**18
DEVICE_CHUNK = 2**24


def equalization_roi_loss(logits: Tensor,
                          labels: Tensor,
                          tail_mask: Tensor,
                          image_index: Optional[Tensor] = None,
                          exclude_background: bool = True) -> Tensor:
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
        tail_mask: (K,) in [0, 1], T_lambda(f_j), a constant; or (N, K), one
            row for each image, together with ``image_index``.
        image_index: (R,) int64 in [0, N), the image of each RoI.
        exclude_background: E(r) is 0 for background RoIs; otherwise it is 1
            for all, and background does not count for the tail either.

    Returns:
        (R,) loss of every RoI, computed in float32 or better; to be
        weighted and reduced over RoIs.

    Raises:
        ValueError: If the shapes do not belong together, or ``tail_mask``
            asks for a gradient or, under ``torch.vmap``, differs within the
            batch.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    _check_images(logits, labels, tail_mask, image_index)
    if tail_mask.requires_grad:
        raise ValueError('expected a constant tail_mask, but got one with '
                         'requires_grad; use equalization_loss for it')
    if is_compiling():
        by_roi = tail_mask if image_index is None else tail_mask[image_index]
        return equalization_loss(logits, labels, by_roi,
                                 exclude_background).sum(dim=1)
    weights, kind = _weights_by_kind(labels, tail_mask.to(math_type(logits)),
                                     image_index, exclude_background)
    return _RoILoss.apply(logits, labels, kind, weights)


class _RoILoss(Function):
    """(R,) losses of RoIs whose other categories weigh ``weights[kind]``."""

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, kind: Tensor,
                weights: Tensor) -> Tensor:
        """Sum a row; kind (R,) says which of the (G, K) weights it has."""
        # Bounds and not only weights, since 0 times infinity is NaN.
        bounds = torch.zeros_like(weights).masked_fill_(
            weights > 0, float('inf'))
        background, column, score = _label_scores(logits, labels)
        cell = kind[:, None], column
        own_loss = torch.where(
            background,
            torch.minimum(F.softplus(score), bounds[cell]) * weights[cell],
            F.softplus(-score))
        sums = []
        for z, row, y, own in chunks(logits, kind, column, own_loss):
            loss = F.softplus(z.to(own.dtype))
            torch.minimum(loss, bounds.index_select(0, row), out=loss)
            loss.mul_(weights.index_select(0, row)).scatter_(1, y, own)
            sums.append(loss.sum(dim=1))
        return torch.cat(sums)

    @staticmethod
    def setup_context(ctx, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple:
        result = _RoIGradient.apply(grad, *ctx.saved_tensors)
        return result, None, None, None

    @staticmethod
    def vmap(info, in_dims: Tuple, *tensors: Tensor) -> Tuple[Tensor, int]:
        return _as_more_rois(_RoILoss, info.batch_size, in_dims, tensors)


class _RoIGradient(Function):
    """The gradient of ``_RoILoss``, a function that can be derived again."""

    @staticmethod
    def forward(grad: Tensor, logits: Tensor, labels: Tensor, kind: Tensor,
                weights: Tensor) -> Tensor:
        """Write the (R, K) gradient; grad (R,) is that of the losses."""
        weights = weights.to(grad)
        background, column, score = _label_scores(logits, labels)
        result = torch.empty_like(logits)
        for z, row, scale, out in chunks(logits, kind, grad[:, None], result):
            weight = weights.index_select(0, row).mul_(scale)
            torch.mul(z.to(grad.dtype).sigmoid(), weight, out=out)
        # Not sigmoid(z) - 1, which has no digits left where z is large.
        own = grad[:, None] * torch.where(
            background,
            score.sigmoid() * weights[kind[:, None], column],
            -(-score).sigmoid())
        return result.scatter_(1, column, own.to(result))

    @staticmethod
    def setup_context(ctx, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, second: Tensor) -> Tuple:
        """Derive by grad and logits; second is (R, K)."""
        # Whole matrices of plain operations: rare, and again differentiable.
        grad, logits, labels, kind, weights = ctx.saved_tensors
        target = one_hot_targets(labels, logits.shape[1]).to(grad)
        weight = weights.to(grad).index_select(0, kind)
        weight = torch.where(target > 0, 1, weight) * second
        score = logits.to(grad).sigmoid()
        slope = grad[:, None] * weight * score * (1 - score)
        return ((weight * (score - target)).sum(dim=1), slope.to(logits), None,
                None, None)

    @staticmethod
    def vmap(info, in_dims: Tuple, *tensors: Tensor) -> Tuple[Tensor, int]:
        return _as_more_rois(_RoIGradient, info.batch_size, in_dims, tensors)


def _check_images(logits: Tensor, labels: Tensor, tail_mask: Tensor,
                  image_index: Optional[Tensor]) -> None:
    if image_index is None and tail_mask.ndim == 1:
        check_shapes(logits, labels, tail_mask)
    elif (image_index is None or image_index.shape != labels.shape
          or tail_mask.ndim != 2 or not len(tail_mask)):
        images = 'None' if image_index is None else tuple(image_index.shape)
        raise ValueError(
            f'expected logits (R, K), labels (R,) and tail_mask (K,), or '
            f'tail_mask (N, K) with image_index (R,), but got '
            f'{tuple(logits.shape)}, {tuple(labels.shape)} and '
            f'{tuple(tail_mask.shape)} with image_index {images}')
    else:
        check_shapes(logits, labels, tail_mask[0])


def math_type(logits: Tensor) -> torch.dtype:
    """Return the type to compute in: float32 or better."""
    return torch.promote_types(logits.dtype, torch.float32)


def _weights_by_kind(labels: Tensor, tail_mask: Tensor,
                     image_index: Optional[Tensor],
                     exclude_background: bool) -> Tuple[Tensor, Tensor]:
    """(G, K) weights of the other categories, (R,) which row is whose.

    A row for each image, or one for all, and one for the background.
    """
    weights = 1 - tail_mask.reshape(-1, tail_mask.shape[-1])
    kind = torch.zeros_like(labels) if image_index is None else image_index
    if exclude_background:
        background = background_rois(labels, weights.shape[1])
        kind = torch.where(background, len(weights), kind)
        weights = torch.cat([weights, torch.ones_like(weights[:1])])
    return weights, kind


def _label_scores(logits: Tensor,
                  labels: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """(R, 1) background, (R, 1) column of the label, (R, 1) its logit.

    Background has no label among the K; any column does.
    """
    num_classes = logits.shape[1]
    background = background_rois(labels, num_classes)[:, None]
    column = labels.clamp(0, num_classes - 1)[:, None]
    return background, column, logits.gather(1, column).to(math_type(logits))


def chunks(logits: Tensor, *by_row: Tensor) -> Iterator[Tuple[Tensor, ...]]:
    """Split tensors of R rows alike, so that few scores are in work."""
    size = CPU_CHUNK if logits.device.type == 'cpu' else DEVICE_CHUNK
    rows = max(1, size // logits.shape[1])
    return zip(*(tensor.split(rows) for tensor in (logits, *by_row)))


def _as_more_rois(function: Function, batch_size: int, in_dims: Tuple,
                  tensors: Tuple[Tensor, ...]) -> Tuple[Tensor, int]:
    """RoIs are independent, so that a batch of R is R times as many."""
    *by_roi, weights = tensors
    if in_dims[-1] is not None:
        raise ValueError('expected one tail_mask for the whole batch, but '
                         f'got {batch_size}')
    moved = [
        t.expand(batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(by_roi, in_dims)
    ]
    result = function.apply(*(t.flatten(0, 1) for t in moved), weights)
    return result.unflatten(0, moved[0].shape[:2]), 0
