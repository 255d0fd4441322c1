"""The images of a data set as dictionaries, made when they are asked for."""
from collections.abc import Sequence as SequenceABC
from typing import Any, Union

import numpy as np


class Records(SequenceABC):
    """The images of a data set as the host's dictionaries, made on demand.

    Args:
        dataset: Whose ``describe`` makes a dictionary.
        positions: (n,) images of its annotation file.
    """

    def __init__(self, dataset: Any, positions: np.ndarray) -> None:
        self.dataset = dataset
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Union[int, slice]) -> Any:
        if isinstance(index, slice):
            return self.take(index)
        return self.dataset.describe(int(self.positions[index]))

    def take(self, index: Any) -> 'Records':
        """Choose images, by a slice, indices or a mask."""
        return Records(self.dataset, self.positions[index])
