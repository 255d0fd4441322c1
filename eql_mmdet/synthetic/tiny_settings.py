"""Settings of the synthetic set, and the numbers that follow from them."""
from dataclasses import dataclass
from numbers import Integral
from typing import Tuple

import numpy as np

from ..annotations.category_counts import GROUP_BOUNDS
from .tiny_plan import image_counts

__all__ = ['Settings']

VERSION = '1'  # raise it when the same settings give other bytes
FULL_SIZE = 400  # train images below which the bounds of groups shrink


@dataclass(frozen=True)
class Settings:
    """What a synthetic set is made from; the same settings, the same set.

    Attributes:
        num_categories: K, from 12 to 1,230.
        num_train: Images to train on.
        num_val: Images to evaluate on.
        image_size: Height and width in pixels, from 64 to 1,024.
        seed: Decides everything that is random.
        version: Of the code that draws.

    Raises:
        ValueError: If a number is not an integer, or out of its range.
    """
    num_categories: int
    num_train: int
    num_val: int
    image_size: int
    seed: int
    version: str = VERSION

    def __post_init__(self) -> None:
        _check('num_categories', self.num_categories, 12, 1230)
        few = -(-self.num_categories // 5)
        _check('num_train', self.num_train, max(40, 2 * few), 10**6 - 1)
        _check('num_val', self.num_val, max(10, few), 10**6 - 1)
        _check('image_size', self.image_size, 64, 1024)
        _check('seed', self.seed, 0, 2**63 - 1)

    def num_images(self, split: str) -> int:
        """Images of ``'train'`` or ``'val'``."""
        return self.num_train if split == 'train' else self.num_val

    def group_bounds(self) -> Tuple[float, float]:
        """Most train images of a rare, and of a common category."""
        scale = min(1.0, self.num_train / FULL_SIZE)
        return GROUP_BOUNDS[0] * scale, GROUP_BOUNDS[1] * scale

    def group(self, image_count: int) -> str:
        """``'r'``, ``'c'`` or ``'f'``, by the number of train images."""
        rare, common = self.group_bounds()
        return ('r' if image_count <= rare else
                'c' if image_count <= common else 'f')

    def image_counts(self, split: str) -> np.ndarray:
        """(K,) images with each category, the most frequent first."""
        number, num_images = self.num_categories, self.num_images(split)
        if split == 'train':
            # Above the bound of common, or nothing would be frequent.
            least = min(0.6, 1.25 * self.group_bounds()[1] / num_images)
            return image_counts(number, num_images, 1, (0.6, least))
        # More even than train, or the AP of rare categories would be noise.
        last = int(np.clip(3 * num_images / number, 1, 5))
        return image_counts(number, num_images, last, (0.3, last / num_images))

    def rng(self, *key: int) -> np.random.Generator:
        """A generator of its own for every use: order does not matter."""
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=key))


def _check(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, Integral) or not low <= value <= high:
        raise ValueError(f'expected {name} to be an integer from {low} to '
                         f'{high} with the other settings, got {value!r}')
