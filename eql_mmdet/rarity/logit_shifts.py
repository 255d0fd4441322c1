"""What counts of a training set add to the logits of its categories."""
import numpy as np
import torch
from torch import Tensor


def at_least_one(image_count: np.ndarray) -> np.ndarray:
    """Count a category that no image has as one image.

    Args:
        image_count: (K,) images that contain each category.

    Returns:
        (K,) float64, at least 1: a score is never multiplied by infinity.
    """
    return np.maximum(image_count, 1).astype(np.float64)


def norcal_shift(image_count: np.ndarray, gamma: float) -> Tensor:
    """Give what NorCal [1] adds to the logits.

    The scores exp(z_j) / n_j^gamma of the categories beside exp(z) of the
    background, normalised, are a softmax of z_j - gamma log n_j.

    Args:
        image_count: (K,) images that contain each category (n_j); none
            counts as one.
        gamma: Strength, 0 or more.

    Returns:
        (K,) float32.

    [1] Pan et al., NeurIPS 2021, https://arxiv.org/abs/2107.02170
    """
    return torch.from_numpy(-gamma * np.log(at_least_one(image_count))).float()


def logit_adjustment_shift(image_count: np.ndarray, tau: float) -> Tensor:
    """Give what logit adjustment [2] adds to the logits: -tau log prior_j.

    Args:
        image_count: (K,) images that contain each category; none counts as
            one. The prior is the share of their sum, without background.
        tau: Strength, 0 or more.

    Returns:
        (K,) float32.

    [2] Menon et al., ICLR 2021, https://arxiv.org/abs/2007.07314
    """
    count = at_least_one(image_count)
    return torch.from_numpy(-tau * np.log(count / count.sum())).float()


def fracal_shift(image_count: np.ndarray) -> Tensor:
    """Give what FRACAL [3] adds to the logits: -log10 p_j - log10 K.

    It is zero where all K categories are equally frequent, and with a base
    of 10 it is weaker than logit adjustment with tau = 1 by log(10).

    Args:
        image_count: (K,) images that contain each category; none counts as
            one. p_j is the share of their sum.

    Returns:
        (K,) float32.

    [3] Alexandridis et al., CVPR 2025, https://arxiv.org/abs/2410.11774
    """
    count = at_least_one(image_count)
    return torch.from_numpy(-np.log10(count / count.mean())).float()
