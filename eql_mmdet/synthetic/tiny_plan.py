"""Plan of a synthetic long-tailed set: which image shows which categories.

Categories are numbered by rank here, the most frequent first.
"""
import itertools
from typing import List, NamedTuple, Sequence, Set, Tuple

import numpy as np

from ..annotations.category_counts import load_counts
from .tiny_scene import COLOURS, SHAPES, TEXTURES, Look

__all__ = [
    'Content', 'choose_content', 'choose_looks', 'exhaustive', 'image_counts',
    'plan_images'
]

PER_IMAGE = 6  # most annotated categories of an image, on average
EMPTY, CROWDED = 0.02, 0.04  # shares of the images
NOT_EXHAUSTIVE = 0.12  # share of images with a category annotated in part
NEGATIVE, MOST_NEGATIVE = 0.3, 20  # of the categories absent from an image


def image_counts(num_categories: int, num_images: int, last: int,
                 first: Tuple[float, float]) -> np.ndarray:
    """Give every category a number of images that falls as in LVIS v0.5.

    The counts of LVIS, sorted, are read at ``num_categories`` ranks, and
    their logarithms stretched between those of the first and the last. If
    this makes more than 6 categories an image, the first is lowered, and
    where that is not enough the fall is made steeper.

    Args:
        num_categories: K.
        num_images: Images that the categories share.
        last: Images with the last category.
        first: Share of the images with the first category, in (0, 1]: as
            wished, and the least.

    Returns:
        (K,) integers, falling.

    Raises:
        ValueError: If there are too few images.
    """
    lvis = np.sort(load_counts('lvis_v0.5').image_count)[::-1]
    ranks = np.linspace(0, len(lvis) - 1, num_categories)
    curve = np.log(np.interp(ranks, np.arange(len(lvis)), lvis))
    curve /= curve[0]
    attempts = itertools.chain(
        ((share, 1.0) for share in np.linspace(*first, 100)),
        ((first[1], steepness) for steepness in np.geomspace(1, 200, 200)))
    for share, steepness in attempts:
        counts = last * (share * num_images / last)**curve**steepness
        counts = np.rint(counts).astype(int).clip(1)
        if counts.sum() <= PER_IMAGE * num_images:
            return counts
    raise ValueError(f'expected enough images for {num_categories} categories '
                     f'with at least {last} images each, got {num_images}; '
                     'take more images')


def choose_looks(num_categories: int, rng: np.random.Generator) -> List[Look]:
    """Choose what the categories look like, the most frequent first.

    Of each table the fewest first entries that do are used. The first looks
    have every pair of colour and texture, each with one shape: a rare
    category differs from one of them in nothing but its shape.

    Args:
        num_categories: K, up to the number of all combinations.
        rng: Decides which combinations come first.

    Returns:
        K different looks.
    """
    tables = [list(table) for table in (COLOURS, TEXTURES, SHAPES)]
    choices = itertools.product(*(range(2, 1 + len(table))
                                  for table in tables))
    sizes = min(
        (sizes for sizes in choices if np.prod(sizes) >= num_categories),
        key=lambda sizes: sum(size / len(table)
                              for size, table in zip(sizes, tables)))
    indices = list(itertools.product(*map(range, sizes)))
    rng.shuffle(indices)
    indices.sort(key=lambda i: (i[2] - i[1] - i[0]) % sizes[2])
    return [
        Look(*(table[j] for table, j in zip(tables, i)))
        for i in indices[:num_categories]
    ]


def plan_images(counts: np.ndarray, num_images: int,
                rng: np.random.Generator) -> Tuple[List[List[int]], Set[int]]:
    """Choose the images of every category, exactly as many as it needs.

    Args:
        counts: (K,) images with each category, falling.
        num_images: N; some of them stay without any category.
        rng: Makes the choice.

    Returns:
        N lists of categories, and the indices of the crowded images.
    """
    num_empty, num_crowded = (
        max(1, round(share * num_images)) for share in (EMPTY, CROWDED))
    filled = rng.permutation(num_images)[num_empty:]
    appeal = np.exp(rng.normal(0, 0.7, len(filled)))
    appeal[:num_crowded] = 8
    load = np.ones(len(filled))
    categories: List[List[int]] = [[] for _ in range(num_images)]
    for category, count in enumerate(counts):
        # The first to arrive at these rates are a weighted draw.
        arrival = rng.exponential(size=len(filled)) * load / appeal
        chosen = np.argpartition(arrival, count - 1)[:count]
        load[chosen] += 1
        for image in filled[chosen]:
            categories[image].append(category)
    return categories, set(filled[:num_crowded].tolist())


class Content(NamedTuple):
    """What an image shows, and what its annotation says."""

    drawn: np.ndarray  # category of every object
    annotated: np.ndarray  # bool, of every object
    not_exhaustive: np.ndarray  # categories with objects not annotated
    negative: np.ndarray  # categories known to be absent


def choose_content(positive: Sequence[int], crowded: bool, unchecked: bool,
                   num_categories: int, rng: np.random.Generator) -> Content:
    """Choose the objects of an image, and which of them are annotated.

    Args:
        positive: Categories with at least one annotated object.
        crowded: Whether there are many objects of each.
        unchecked: Whether to add one or two objects of categories that the
            annotation does not mention.
        num_categories: K.
        rng: Makes the choice.

    Returns:
        The objects and the sets of categories.
    """
    categories = np.array(positive, int)
    # Frequent categories come in greater numbers.
    mean = 1.05 + 0.4 * (1 - categories / num_categories)**2
    numbers = np.minimum(rng.geometric(1 / mean), 4)
    if crowded:
        numbers += rng.integers(0, 3, len(numbers))
    hidden = np.zeros_like(numbers)
    if positive and rng.random() < NOT_EXHAUSTIVE:
        which = rng.integers(len(positive))
        numbers[which] = max(numbers[which], 2)
        hidden[which] = rng.integers(1, numbers[which])
    absent = rng.permutation(
        np.setdiff1d(np.arange(num_categories), categories))
    extra, absent = np.split(absent, [rng.integers(1, 3) if unchecked else 0])
    num_negative = min(MOST_NEGATIVE, rng.binomial(len(absent), NEGATIVE))
    shown = categories.repeat(numbers - hidden)
    return Content(
        drawn=np.concatenate([shown, categories.repeat(hidden), extra]),
        annotated=np.arange(numbers.sum() + len(extra)) < len(shown),
        not_exhaustive=categories[hidden > 0],
        negative=absent[:num_negative])


def exhaustive(content: Content, num_categories: int) -> Content:
    """Annotate all objects of an image, and name all that is absent.

    Args:
        content: What the image shows.
        num_categories: K.

    Returns:
        The same objects, all of them annotated.
    """
    return content._replace(
        annotated=np.ones_like(content.annotated),
        not_exhaustive=content.not_exhaustive[:0],
        negative=np.setdiff1d(np.arange(num_categories), content.drawn))
