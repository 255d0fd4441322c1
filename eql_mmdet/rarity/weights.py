"""What counts are worth: class weights, priors and chances of being drawn."""
import numpy as np
import torch
from torch import Tensor

from ..annotations.category_counts import CategoryCounts
from .frequency import check_images


def class_weights(counts: CategoryCounts, power: float) -> Tensor:
    """Weigh categories by a power of the inverse image count.

    w_j = c n_j^-power, with n_j images, at least one. The factor c keeps the
    mean weight of the annotated objects at 1, since RoIs come by objects: a
    foreground RoI weighs as much as before, on average and as long as no
    sampler repeats images.

    Args:
        counts: Counts of the training set.
        power: In [0, 1]: 0 weighs all alike, exactly 1.0, and 1 by the
            inverse count.

    Returns:
        (K,) float32, positive.

    Raises:
        ValueError: If the power is out of range, or no category has an
            image.
    """
    check_power(power)
    check_images(counts)
    weight = counts.image_count.clip(min=1).astype(np.float64)**-power
    objects = counts.instance_count
    weight *= objects.sum() / (objects * weight).sum()
    return torch.from_numpy(weight).float()


def log_prior(counts: CategoryCounts) -> Tensor:
    """Give the logarithm of each category's share of the image counts.

    log(n_j / sum_k n_k). A category without an image counts as one with one
    image, so that nothing is infinite should it turn up after all.

    Args:
        counts: Counts of the training set.

    Returns:
        (K,) float32, not positive; the exponentials sum to 1.

    Raises:
        ValueError: If no category has an image.
    """
    check_images(counts)
    images = counts.image_count.clip(min=1).astype(np.float64)
    return torch.from_numpy(np.log(images / images.sum())).float()


def draw_weights(counts: CategoryCounts, power: float) -> Tensor:
    """Weigh how likely each category is drawn at random.

    Args:
        counts: Counts of the training set.
        power: Of the image count, in [0, 1]: 0 draws all alike that have an
            image, 1 in proportion to their images.

    Returns:
        (K,) float32, n_j^power; 0 for a category without an image.

    Raises:
        ValueError: If the power is out of range, or no category has an
            image.
    """
    check_power(power)
    check_images(counts)
    images = counts.image_count.astype(np.float64)
    # Not the power alone, since 0 to the power 0 is 1.
    return torch.from_numpy(np.where(images > 0, images**power, 0)).float()


def check_power(power: float) -> None:
    """Refuse powers that turn the counts around or exaggerate them.

    Args:
        power: Of a count.

    Raises:
        ValueError: If it is not in [0, 1].
    """
    if not 0 <= power <= 1:
        raise ValueError(f'expected power (of the image counts) in [0, 1], '
                         f'but got {power}')
