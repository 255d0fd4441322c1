"""Masks kept as RLE, which look like bitmaps to whoever looks at them."""
from typing import Any, List, Sequence, Tuple, Union

import numpy as np
import pycocotools.mask as mask_utils
import torch
from torch import Tensor


class RLEMasks:
    """The n masks of an image, a few hundred bytes each.

    They take the place of the (n, height, width) bool tensor in
    ``pred_instances.masks``: length, shape, indexing, iteration, ``numpy()``
    and ``np.asarray`` behave as there, and so MMDetection's visualizer and
    its dump of results work. A bitmap is made when it is asked for. An
    evaluator that knows them takes ``rles``.

    Args:
        counts: n compressed counts.
        size: (height, width) of the image.

    Attributes:
        rles: n dicts with ``size`` and ``counts``, as in the COCO format.
    """

    def __init__(self, counts: Sequence[bytes], size: Tuple[int, int]) -> None:
        self.size = size
        self.rles = [dict(size=list(size), counts=item) for item in counts]

    @property
    def shape(self) -> torch.Size:
        """(n, height, width)."""
        return torch.Size((len(self), *self.size))

    def __len__(self) -> int:
        return len(self.rles)

    def __repr__(self) -> str:
        return f'RLEMasks{tuple(self.shape)}'

    def __getitem__(self, item: Any) -> Union[Tensor, 'RLEMasks']:
        """Return one (height, width) bool bitmap, or a part of the masks."""
        chosen = np.arange(len(self))[_to_index(item)]
        if chosen.ndim == 0:
            bitmap = mask_utils.decode(self.rles[int(chosen)])
            return torch.from_numpy(bitmap).bool()
        return RLEMasks([self.rles[i]['counts'] for i in chosen], self.size)

    @staticmethod
    def cat(parts: List['RLEMasks']) -> 'RLEMasks':
        """Put the masks of one image together again.

        Args:
            parts: At least one, all of the same image.

        Returns:
            All masks.
        """
        counts = [rle['counts'] for part in parts for rle in part.rles]
        return RLEMasks(counts, parts[0].size)

    def numpy(self) -> np.ndarray:
        """Return (n, height, width) bool bitmaps."""
        bitmaps = np.zeros(self.shape, dtype=bool)
        for bitmap, rle in zip(bitmaps, self.rles):
            bitmap[:] = mask_utils.decode(rle)
        return bitmaps

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.numpy().astype(dtype or bool, copy=False)

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the bitmaps as an array of another type."""
        return self.numpy().astype(dtype)

    def detach(self) -> 'RLEMasks':
        """Do nothing: there is no gradient."""
        return self

    def cpu(self) -> 'RLEMasks':
        """Do nothing: they are there."""
        return self


def _to_index(item: Any) -> Any:
    return item.cpu().numpy() if isinstance(item, Tensor) else item
