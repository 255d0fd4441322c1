"""The equations of EQL v2, and one pass over the scores that does them all."""
from typing import NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .functional import float32_or_better, one_hot_targets
from .fused import chunks, is_compiling, math_type


class Balance(NamedTuple):
    """How much each of C columns counts.

    Attributes:
        positive: (C,) weight q_j where the column is the label.
        negative: (C,) weight r_j elsewhere.
    """
    positive: Tensor
    negative: Tensor


def gradient_balance(ratio: Tensor, gamma: float, mu: float,
                     alpha: float) -> Balance:
    """Weigh the columns by the balance of their gradients so far.

    Eq. (7) and (8) of [1]: r_j = f(g_j), q_j = 1 + alpha (1 - f(g_j)) with
    f(g) = 1 / (1 + exp(-gamma (g - mu))).

    Args:
        ratio: (K,) g_j, accumulated positive over negative gradients.
        gamma: Steepness of f.
        mu: The ratio at which f is one half.
        alpha: How much more the positives of a starved category count.

    Returns:
        K + 1 columns: the background, the last one, counts 1.

    [1] Tan et al., CVPR 2021, https://arxiv.org/abs/2012.08548
    """
    negative = torch.sigmoid(gamma * (ratio - mu))
    positive = 1 + alpha * (1 - negative)
    return Balance(
        F.pad(positive, (0, 1), value=1.), F.pad(negative, (0, 1), value=1.))


def balanced_loss(logits: Tensor, labels: Tensor, balance: Balance) -> Tensor:
    """Sigmoid cross-entropy of every score, weighted by its column.

    Args:
        logits: (R, C) raw scores; the last column is background.
        labels: (R,) int64 in [0, C).
        balance: Weights of the C columns.

    Returns:
        (R, C) loss of every score, in float32 or better.
    """
    logits = float32_or_better(logits)
    targets = one_hot_targets(labels, logits.shape[1])
    # -log(p) is softplus(-z), and -log(1 - p) is softplus(z).
    loss = F.softplus(torch.where(targets, -logits, logits))
    return loss * torch.where(targets, *balance)


def gradient_sums(logits: Tensor, labels: Tensor, balance: Balance,
                  weight: Tensor) -> Tensor:
    """Add up the gradients that every column gets from a batch.

    Args:
        logits: (R, C) raw scores.
        labels: (R,) int64 in [0, C).
        balance: Weights of the C columns.
        weight: (R,) weights of the RoIs.

    Returns:
        (2, C) without a gradient: sums of |dL/dz| over RoIs with this
        label, and over all others.
    """
    logits = float32_or_better(logits.detach())
    targets = one_hot_targets(labels, logits.shape[1])
    # Not 1 - sigmoid(z), which has no digits left where z is large.
    size = torch.where(targets, -logits, logits).sigmoid()
    size = size * torch.where(targets, *balance) * weight[:, None]
    own = torch.where(targets, size, 0).sum(dim=0)
    return torch.stack([own, torch.where(targets, 0, size).sum(dim=0)])


def balanced_roi_loss(logits: Tensor, labels: Tensor, balance: Balance,
                      weight: Tensor) -> Tuple[Tensor, Tensor]:
    """Sum the loss of every RoI, and the gradients of every column.

    The same as ``balanced_loss(...).sum(dim=1)`` and ``gradient_sums(...)``,
    but the scores are read once: value, gradient and sums come from the same
    pieces. Compiled, the definitions themselves are used, which the compiler
    fuses.

    Args:
        logits: (R, C) raw scores; any layout, any floating type.
        labels: (R,) int64 in [0, C).
        balance: Weights of the C columns, constants.
        weight: (R,) weights of the RoIs, for the sums only.

    Returns:
        (R,) loss of every RoI, to be weighted and reduced, and (2, C) sums
        as of :func:`gradient_sums`; both in float32 or better.
    """
    if is_compiling():
        return (balanced_loss(logits, labels, balance).sum(dim=1),
                gradient_sums(logits, labels, balance, weight))
    return _BalancedRoILoss.apply(logits, labels, *balance, weight)


class _BalancedRoILoss(Function):
    """Value and sums in the forward pass, which also writes the gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor, positive: Tensor,
                negative: Tensor, weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Go through the scores in pieces that stay in the cache."""
        dtype = math_type(logits)
        positive, negative = positive.to(dtype), negative.to(dtype)
        column = labels[:, None]
        score = logits.gather(1, column).to(dtype)
        own_weight = positive[column]
        own_loss = F.softplus(-score) * own_weight
        own_gradient = (-score).sigmoid() * own_weight
        # Not in half precision: AMP scales it only in the backward pass, and
        # what the rarest categories get is below what half precision has.
        gradient = torch.empty_like(logits, dtype=dtype)
        sums = logits.new_zeros(2, logits.shape[1], dtype=dtype)
        weight = weight.to(dtype)
        sums[0].index_add_(0, labels, own_gradient[:, 0] * weight)
        losses = []
        for z, y, own, w, out in chunks(logits, column, own_loss, weight,
                                        gradient):
            z = z.to(dtype)
            loss = F.softplus(z).mul_(negative).scatter_(1, y, own)
            losses.append(loss.sum(dim=1))
            torch.sigmoid(z, out=out).mul_(negative).scatter_(1, y, 0)
            sums[1] += torch.mul(out, w[:, None], out=loss).sum(dim=0)
        gradient.scatter_(1, column, -own_gradient)
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        ctx.mark_non_differentiable(sums)
        return torch.cat(losses), sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, _: Tensor) -> Tuple:
        gradient, = ctx.saved_tensors
        gradient = gradient * grad[:, None]
        return gradient.to(ctx.dtype), None, None, None, None
