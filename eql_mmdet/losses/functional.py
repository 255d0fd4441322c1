"""The equations of the paper as free functions of tensors."""
import torch
import torch.nn.functional as F
from torch import Tensor


def check_shapes(logits: Tensor, labels: Tensor, tail_mask: Tensor) -> None:
    """Refuse tensors that do not belong together.

    Args:
        logits: (R, K) raw scores z_j.
        labels: (R,) labels.
        tail_mask: (K,) T_lambda(f_j), or (R, K).

    Raises:
        ValueError: If a shape is another one.
    """
    expected = (*labels.shape, tail_mask.shape[-1]) if tail_mask.ndim else None
    if (logits.ndim != 2 or logits.shape != expected
            or tail_mask.shape not in (expected, expected[1:])):
        raise ValueError(
            f'expected logits (R, K), labels (R,) and tail_mask (K,) or '
            f'(R, K), but got {tuple(logits.shape)}, {tuple(labels.shape)} '
            f'and {tuple(tail_mask.shape)}')


def one_hot_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Turn labels into one row of zeros and ones per RoI.

    Args:
        labels: (R,) int64; K is background.
        num_classes: K.

    Returns:
        (R, K) bool, y_j in [1]; background rows are all False.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    # A comparison, since F.one_hot reads values back from the device.
    return labels[:, None] == torch.arange(num_classes, device=labels.device)


def equalization_weight(labels: Tensor,
                        tail_mask: Tensor,
                        exclude_background: bool = True) -> Tensor:
    """Weigh every score of every RoI.

    Eq. (2) and (4) of [1]: w_j = 1 - E(r) T_lambda(f_j) (1 - y_j). A
    foreground RoI gives no negative gradient to a tail category; background
    RoIs and positive labels always count.

    Args:
        labels: (R,) int64; K is background.
        tail_mask: (K,) in [0, 1], T_lambda(f_j), or (R, K) where it differs
            between RoIs.
        exclude_background: E(r) is 0 for background RoIs. Otherwise it is 1
            for all of them (the row "without E(r)" of [1]), and background
            does not count for the tail either.

    Returns:
        (R, K) weights in [0, 1], in the type of ``tail_mask``.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    num_classes = tail_mask.shape[-1]
    others = ~one_hot_targets(labels, num_classes)
    if exclude_background:
        others = others & ~background_rois(labels, num_classes)[:, None]
    return 1 - others * tail_mask


def background_rois(labels: Tensor, num_classes: int) -> Tensor:
    """Tell which RoIs are background.

    Args:
        labels: (R,) int64.
        num_classes: K.

    Returns:
        (R,) bool, True for labels other than 0 to K - 1.
    """
    return (labels < 0) | (labels >= num_classes)


def equalization_loss(logits: Tensor,
                      labels: Tensor,
                      tail_mask: Tensor,
                      exclude_background: bool = True) -> Tensor:
    """Sigmoid cross-entropy in which the tail is left in peace.

    Eq. (1) of [1]: the terms of L = - sum_j w_j log(p^_j), computed from
    logits, in float32 or better whatever comes in. The gradient is
    w_j (p_j - y_j).

    Args:
        logits: (R, K) raw scores z_j.
        labels: (R,) int64; K is background.
        tail_mask: (K,) in [0, 1], T_lambda(f_j), or (R, K).
        exclude_background: See :func:`equalization_weight`.

    Returns:
        (R, K) loss of every score; to be summed over K.

    Raises:
        ValueError: If the shapes do not belong together.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    check_shapes(logits, labels, tail_mask)
    logits = float32_or_better(logits)
    targets = one_hot_targets(labels, logits.shape[1])
    weight = equalization_weight(labels, tail_mask.to(logits),
                                 exclude_background)
    # -log(p) is softplus(-z), and -log(1 - p) is softplus(z).
    loss = weight * F.softplus(torch.where(targets, -logits, logits))
    # Not only multiplied, since 0 times infinity is NaN.
    return loss.masked_fill(weight == 0, 0)


def softmax_equalization_loss(logits: Tensor, labels: Tensor,
                              tail_mask: Tensor, drawn: Tensor) -> Tensor:
    """Softmax cross-entropy in which other tail categories may be left out.

    Softmax Equalization Loss of [1]: -log(p~_y) with
    p~_y = exp(z_y) / sum_k w~_k exp(z_k) and
    w~_k = 1 - beta T_lambda(f_k) (1 - y_k), as cross-entropy of the logits
    z_k + log(w~_k). No value of a finite logit gives NaN, and where nothing
    is drawn it is cross-entropy to the last bit.

    Args:
        logits: (R, C) raw scores z_k, with or without a background column.
        labels: (R,) int64 in [0, C).
        tail_mask: (C,) in [0, 1], T_lambda(f_k), 0 for background.
        drawn: (R, C) bool, beta.

    Returns:
        (R,) loss of every sample, computed in float32 or better.

    Raises:
        ValueError: If the shapes do not belong together.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    check_shapes(logits, labels, tail_mask)
    if drawn.shape != logits.shape:
        raise ValueError(f'expected drawn of the shape of the logits '
                         f'{tuple(logits.shape)}, but got '
                         f'{tuple(drawn.shape)}')
    logits = float32_or_better(logits)
    log_weight = torch.log1p(-tail_mask.to(logits))  # -inf where T is 1
    drawn = drawn & ~one_hot_targets(labels, logits.shape[1])
    weighted = torch.where(drawn, logits + log_weight, logits)
    # Filled and not only added, since infinity minus infinity is NaN.
    weighted = weighted.masked_fill(drawn & log_weight.isinf(), -torch.inf)
    return F.cross_entropy(weighted, labels, reduction='none')


def float32_or_better(logits: Tensor) -> Tensor:
    """Return logits in the type in which a loss is computed.

    Args:
        logits: Of any floating type.

    Returns:
        float64 as it is, all else in float32.
    """
    # torch 2.1 cannot compile promote_types.
    return logits if logits.dtype == torch.float64 else logits.float()


def sigmoid_scores(logits: Tensor) -> Tensor:
    """Turn logits into scores as the host's post-processing expects them.

    Args:
        logits: (R, K) raw scores.

    Returns:
        (R, K + 1) sigmoid scores in [0, 1], float32 or better; the last
        column is background, which has no logit, and is zero.
    """
    logits = float32_or_better(logits)
    return F.pad(logits.sigmoid(), (0, 1))


def softmax_scores(logits: Tensor) -> Tensor:
    """Turn logits into scores that compete with one another.

    Args:
        logits: (R, C) raw scores.

    Returns:
        (R, C) softmax scores, float32 or better; rows sum to 1.
    """
    return float32_or_better(logits).softmax(dim=-1)


def foreground_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Measure how often the highest score of a foreground RoI is its label.

    Args:
        logits: (R, K) raw scores.
        labels: (R,) int64; K is background.

    Returns:
        Scalar, percent; 0 without foreground RoIs.
    """
    foreground = (labels >= 0) & (labels < logits.shape[1])
    if logits.shape[0] == 0:
        return logits.new_zeros(())
    # Masked sums, since boolean indexing waits for the device.
    correct = foreground & (logits.argmax(dim=1) == labels)
    return 100.0 * correct.sum() / foreground.sum().clamp(min=1)
