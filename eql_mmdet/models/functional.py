"""The equations of the paper as free functions of tensors."""
import torch
import torch.nn.functional as F
from torch import Tensor


def check_shapes(logits: Tensor, labels: Tensor, tail_mask: Tensor) -> None:
    """Refuse tensors that do not belong together.

    Args:
        logits: (R, K) raw scores z_j.
        labels: (R,) labels.
        tail_mask: (K,) T_lambda(f_j).

    Raises:
        ValueError: If a shape is another one.
    """
    if logits.ndim != 2 or logits.shape != (*labels.shape, *tail_mask.shape):
        raise ValueError(
            f'expected logits (R, K), labels (R,) and tail_mask (K,), but '
            f'got {tuple(logits.shape)}, {tuple(labels.shape)} and '
            f'{tuple(tail_mask.shape)}')


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


def equalization_weight(labels: Tensor, tail_mask: Tensor) -> Tensor:
    """Weigh every score of every RoI.

    Eq. (2) and (4) of [1]: w_j = 1 - E(r) T_lambda(f_j) (1 - y_j). A
    foreground RoI gives no negative gradient to a tail category; background
    RoIs and positive labels always count.

    Args:
        labels: (R,) int64; K is background.
        tail_mask: (K,) in [0, 1], T_lambda(f_j).

    Returns:
        (R, K) weights in [0, 1], in the type of ``tail_mask``.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    num_classes = tail_mask.numel()
    foreground = (labels >= 0) & (labels < num_classes)
    others = foreground[:, None] & ~one_hot_targets(labels, num_classes)
    return 1 - others * tail_mask


def equalization_loss(logits: Tensor, labels: Tensor,
                      tail_mask: Tensor) -> Tensor:
    """Sigmoid cross-entropy in which the tail is left in peace.

    Eq. (1) of [1]: the terms of L = - sum_j w_j log(p^_j), computed from
    logits, in float32 or better whatever comes in. The gradient is
    w_j (p_j - y_j).

    Args:
        logits: (R, K) raw scores z_j.
        labels: (R,) int64; K is background.
        tail_mask: (K,) in [0, 1], T_lambda(f_j).

    Returns:
        (R, K) loss of every score; to be summed over K.

    Raises:
        ValueError: If the shapes do not belong together.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    check_shapes(logits, labels, tail_mask)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = one_hot_targets(labels, tail_mask.numel())
    weight = equalization_weight(labels, tail_mask.to(logits))
    # -log(p) is softplus(-z), and -log(1 - p) is softplus(z).
    loss = weight * F.softplus(torch.where(targets, -logits, logits))
    # Not only multiplied, since 0 times infinity is NaN.
    return loss.masked_fill(weight == 0, 0)


def sigmoid_scores(logits: Tensor) -> Tensor:
    """Turn logits into scores as the host's post-processing expects them.

    Args:
        logits: (R, K) raw scores.

    Returns:
        (R, K + 1) sigmoid scores in [0, 1], float32 or better; the last
        column is background, which has no logit, and is zero.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.pad(logits.sigmoid(), (0, 1))


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
