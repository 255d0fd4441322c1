"""Random numbers that depend on a place in a training, not on its past."""
import random
from typing import Iterator, Sequence

import numpy as np
import torch


def seed_everything(*place: int) -> None:
    """Start the generators of this process anew, by a place of a training.

    Those of ``random``, numpy and torch, accelerators included. Numbers of
    different places are independent, of the same place the same.

    Args:
        *place: Integers from 0 on: the seed of the run, and then what tells
            the place from all others.
    """
    torch.manual_seed(seed_cpu(*place))


def seed_cpu(*place: int) -> int:
    """Start those generators anew, but of torch that of the CPU alone.

    ``torch.manual_seed`` takes up to a millisecond where no accelerator is
    in use, as in a process that loads images.

    Args:
        *place: As for :func:`seed_everything`.

    Returns:
        The seed of torch.
    """
    words = np.random.SeedSequence(place).generate_state(4, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(words[1:2].view(np.uint32))
    seed = int(words[2] >> np.uint64(1))
    torch.default_generator.manual_seed(seed)
    return seed


class SeededBatch:
    """The indices of a batch; who reads them is seeded before each one.

    A loader's process asks the data set for one index after the other. What
    its pipeline draws then depends on the place alone, and neither on the
    process, nor on what it has drawn before.

    Args:
        indices: Of a data set.
        place: Of the batch, for :func:`seed_cpu`.
    """

    def __init__(self, indices: Sequence[int], place: Sequence[int]) -> None:
        self.indices = list(indices)
        self.place = tuple(place)

    def __len__(self) -> int:
        """Count the indices."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices."""
        for number, index in enumerate(self.indices):
            seed_cpu(*self.place, number)
            yield index
