"""What is rare: frequencies, the tail, its size, repeat factors.

This file is the only place where rarity is defined. Everything else (the
loss, the samplers, the tools, the pictures) asks here.
"""
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from ..annotations.category_counts import CategoryCounts

#: Tail ratios (fractions) that :func:`tail_table` looks at.
TABLE_RATIOS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.5)


def category_frequency(counts: CategoryCounts,
                       num_images: Optional[int] = None) -> Tensor:
    """Give the share of training images that contain each category.

    Args:
        counts: Counts of the training set.
        num_images: Denominator. By default the images with at least one
            annotation, as in the authors' code; the paper divides by all
            images of the set (57,263 for LVIS v0.5).

    Returns:
        (K,) float32 in [0, 1], f_j in [1]; 0 for a category without an
        image, which is as rare as can be.

    Raises:
        ValueError: If no category has an image, or one has more images than
            there are.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    check_images(counts)
    total = counts.num_images if num_images is None else num_images
    most = int(counts.image_count.max())
    if most > total:
        raise ValueError(
            f'expected num_images of at least {most}, the images of the most '
            f'frequent category of {counts.source}, but got {total}')
    return torch.from_numpy(counts.image_count).float() / total


def check_images(counts: CategoryCounts) -> None:
    """Refuse counts of nothing.

    Args:
        counts: Counts of the training set.

    Raises:
        ValueError: If no category has an image.
    """
    if counts.image_count.max(initial=0) < 1:
        raise ValueError(f'expected training images, but none of the '
                         f'{len(counts.ids)} categories of {counts.source} '
                         f'has one; take the counts of the training set')


def without_images(counts: CategoryCounts) -> List[str]:
    """Name the categories that no training image has.

    Args:
        counts: Counts of the training set.

    Returns:
        Their names, in label order.
    """
    return [n for n, c in zip(counts.names, counts.image_count) if c < 1]


def tail_mask(frequency: Tensor, threshold: float) -> Tensor:
    """Mark the categories that the loss protects.

    Args:
        frequency: (K,) share of training images with the category, in
            [0, 1].
        threshold: Categories strictly below it are tail (lambda in [1]).

    Returns:
        (K,) 1.0 for tail categories, 0.0 otherwise.

    Raises:
        ValueError: If ``threshold`` is not in [0, 1].

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f'expected a frequency threshold (a fraction of '
                         f'images) in [0, 1], but got {threshold}')
    return (frequency < threshold).to(frequency)


def exponential_decay(frequency: Tensor, a: float, n: float) -> Tensor:
    """Protect categories less and less as they become frequent.

    T(f) = 1 - (a f)^n of Sec. 4.4 of [1], clamped at 0 where f > 1 / a. The
    paper's best: a = 400, n = 2.

    Args:
        frequency: (K,) share of training images with the category, in
            [0, 1].
        a: Inverse of the frequency above which nothing is protected,
            positive.
        n: Exponent, positive.

    Returns:
        (K,) T(f_j) in [0, 1].

    Raises:
        ValueError: If ``a`` or ``n`` is not positive.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    if not (a > 0 and n > 0):
        raise ValueError(f'expected the exponential decay 1 - (a f)^n with '
                         f'positive a and n, but got a={a}, n={n}')
    return (1 - (a * frequency)**n).clamp(min=0)


def gompertz_decay(frequency: Tensor, a: float, b: float, c: float) -> Tensor:
    """Protect categories less as they become frequent, in the shape of an S.

    T(f) = 1 - a exp(-b exp(-c f)) of Sec. 4.4 of [1]. The paper's best:
    a = 1, b = 80, c = 3000, which is near 1 up to f = 1e-3 and near 0 from
    3e-3 on.

    Args:
        frequency: (K,) share of training images with the category, in
            [0, 1].
        a: How much protection the frequent categories lose, in (0, 1].
        b: Shift of the drop towards higher frequencies, positive.
        c: Steepness of the drop, positive.

    Returns:
        (K,) T(f_j) in [0, 1].

    Raises:
        ValueError: If ``a`` is not in (0, 1], ``b`` or ``c`` not positive.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    if not (0 < a <= 1 and b > 0 and c > 0):
        raise ValueError(f'expected the Gompertz decay '
                         f'1 - a exp(-b exp(-c f)) with a in (0, 1] and '
                         f'positive b and c, but got a={a}, b={b}, c={c}')
    return 1 - a * torch.exp(-b * torch.exp(-c * frequency))


def tail_ratio(image_count: np.ndarray, mask: Union[Tensor,
                                                    Sequence]) -> float:
    """Measure how much of the training set the tail makes up.

    Args:
        image_count: (K,) images that contain each category.
        mask: (K,) 1.0 for tail categories; in between with a decay.

    Returns:
        TR(lambda) of [1]: sum of the tail's image counts over the sum of
        all image counts, in [0, 1].

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """
    mask = np.asarray(mask, dtype=np.float64)
    return float((mask * image_count).sum() / image_count.sum())


def threshold_for_tail_ratio(frequency: Tensor, image_count: np.ndarray,
                             target: float) -> float:
    """Find the threshold whose tail is as large as wished.

    Categories of the same frequency enter the tail together, so a target is
    met from below: the result is the largest tail that does not exceed it.

    Args:
        frequency: (K,) share of training images with the category.
        image_count: (K,) images that contain each category.
        target: Tail ratio in (0, 1]; the paper recommends 0.02 to 0.10.

    Returns:
        A frequency threshold, halfway between the last category inside and
        the first outside.

    Raises:
        ValueError: If the target is out of range or smaller than the share
            of the rarest categories.
    """
    if not 0 < target <= 1:
        raise ValueError(f'expected a tail ratio in (0, 1], but got {target}')
    levels, inverse = np.unique(frequency.numpy(), return_inverse=True)
    share = np.bincount(inverse, weights=image_count) / image_count.sum()
    ratio = np.cumsum(share)
    inside = int((ratio <= target + 1e-12).sum())
    if inside == 0:
        raise ValueError(
            f'expected a tail ratio of at least {ratio[0]:.3g}, the share of '
            f'the rarest categories, but got {target}; to protect none, set '
            f'frequency_threshold=0')
    above = levels[inside] if inside < len(levels) else 1.0
    return float(levels[inside - 1] + above) / 2


class TailRow(NamedTuple):
    """One line of the table that helps to choose a threshold.

    Attributes:
        threshold: Frequency threshold (lambda).
        tail_ratio: TR(lambda), a fraction.
        protected: Number of categories below the threshold.
        groups: Of these, the number of rare, common and frequent ones.
    """
    threshold: float
    tail_ratio: float
    protected: int
    groups: Sequence[int]


def tail_table(counts: CategoryCounts) -> List[TailRow]:
    """Tabulate which thresholds protect how much of a training set.

    Args:
        counts: Counts of the training set.

    Returns:
        Rows of rising threshold: the tail ratios of ``TABLE_RATIOS`` as far
        as the set can meet them.

    Raises:
        ValueError: If no category has an image.
    """
    frequency = category_frequency(counts)
    rarest = frequency[frequency > 0].min()
    smallest = tail_ratio(counts.image_count, frequency <= rarest)
    thresholds = sorted({
        threshold_for_tail_ratio(frequency, counts.image_count, ratio)
        for ratio in (smallest, *TABLE_RATIOS) if ratio >= smallest
    })
    rows = []
    for threshold in thresholds:
        mask = tail_mask(frequency, threshold).bool().tolist()
        tail = [group for group, inside in zip(counts.groups, mask) if inside]
        rows.append(
            TailRow(threshold, tail_ratio(counts.image_count, mask), len(tail),
                    [tail.count(group) for group in 'rcf']))
    return rows


def repeat_factors(image_index: np.ndarray, labels: np.ndarray,
                   num_images: int, threshold: float) -> np.ndarray:
    """Compute how often repeat factor sampling shows each image.

    Gupta et al. [2]: r_c = max(1, sqrt(t / f_c)) for a category in a share
    f_c of the images, and for an image the largest r_c of its categories.

    Args:
        image_index: (M,) int64 in [0, N), image of each (image, category)
            pair; every pair once.
        labels: (M,) int64, category of each pair.
        num_images: N, the length of the training set.
        threshold: t, a fraction of images in (0, 1]; categories above it
            are not repeated.

    Returns:
        (N,) float64, at least 1; 1 for images without annotations.

    Raises:
        ValueError: If ``threshold`` is not in (0, 1].

    [2] LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195
    """
    if not 0 < threshold <= 1:
        raise ValueError(f'expected a repeat threshold (a fraction of images) '
                         f'in (0, 1], but got {threshold}')
    factors = np.ones(num_images)
    if len(labels):
        frequency = np.bincount(labels) / num_images
        with np.errstate(divide='ignore'):  # labels that never occur
            category = np.maximum(1, np.sqrt(threshold / frequency))
        np.maximum.at(factors, image_index, category[labels])
    return factors
