"""Samplers for MMDetection: which image comes next."""
from array import array
from typing import Iterator, Optional

import numpy as np
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from ..rarity.frequency import repeat_factors


@DATA_SAMPLERS.register_module()
class RepeatFactorSampler(Sampler):
    """Repeat factor sampling of [1] with stochastic rounding.

    Every epoch shows image i floor(r_i) times and once more with the
    probability of the fractional part, drawn anew from a seed that all
    ranks share, then shuffles and deals the list out to the ranks. (The
    host's ``ClassBalancedDataset`` rounds up instead, once and for all.)

    The length is that of the current epoch and differs a little between
    epochs. Ranks always have the same length: at most ``world_size - 1``
    indices are repeated to make it so.

    Args:
        dataset: Training set with ``get_cat_ids(index)``.
        repeat_threshold: Categories in a smaller share of the images are
            repeated (t in [1], 5e-4 in the authors' EQL rows).
        seed: Seed of all ranks; by default drawn and shared by the host.

    Raises:
        TypeError: If the data set has no ``get_cat_ids``.
        ValueError: If ``repeat_threshold`` is not in (0, 1].

    [1] Gupta et al., LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195
    """

    def __init__(self,
                 dataset: BaseDataset,
                 repeat_threshold: float,
                 seed: Optional[int] = None) -> None:
        if not hasattr(dataset, 'get_cat_ids'):
            raise TypeError(
                f'RepeatFactorSampler expects a data set with get_cat_ids, '
                f'but {type(dataset).__name__} has none')
        self.dataset = dataset  # the host's batch samplers ask for it
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        factors = _dataset_repeat_factors(dataset, repeat_threshold)
        self.repeat_factors = torch.from_numpy(factors)
        print_log(
            f'RepeatFactorSampler repeats {int((factors > 1).sum())} of '
            f'{len(factors)} images; an epoch has about '
            f'{factors.sum():.0f} samples',
            logger='current')
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the list of an epoch; the host calls this before each.

        Args:
            epoch: Number of the epoch.
        """
        self.epoch = epoch
        generator = torch.Generator().manual_seed(self.seed + epoch)
        whole = self.repeat_factors.floor()
        fraction = self.repeat_factors - whole
        extra = torch.rand(len(whole), generator=generator) < fraction
        indices = torch.repeat_interleave((whole + extra).long())
        indices = indices[torch.randperm(len(indices), generator=generator)]
        missing = -len(indices) % self.world_size
        indices = torch.cat([indices, indices[:missing]])
        self._indices = indices[self.rank::self.world_size]

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices of the current epoch."""
        return iter(self._indices.tolist())

    def __len__(self) -> int:
        """Count this rank's indices of the current epoch."""
        return len(self._indices)


def _dataset_repeat_factors(dataset: BaseDataset,
                            threshold: float) -> np.ndarray:
    # One pass: the data set may unpickle an image's record at each call.
    image_index, labels = array('q'), array('q')
    for index in range(len(dataset)):
        present = set(dataset.get_cat_ids(index))
        labels.extend(present)
        image_index.extend([index] * len(present))
    return repeat_factors(
        np.array(image_index), np.array(labels), len(dataset), threshold)
