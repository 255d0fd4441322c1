"""Masks kept as RLE, which look like bitmaps to whoever looks at them."""
from typing import Any, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import pycocotools.mask as mask_utils
import torch
from torch import Tensor

from .paste import paste_crops
from .rle import encode_crop


class UnpastedMasks(NamedTuple):
    """The n masks of an image as a mask head leaves them, on its device.

    Attributes:
        scores: (n, h, w) in [0, 1], of the inside of each box.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the image.
        threshold: A pixel belongs to the object from this score on.
    """
    scores: Tensor
    boxes: Tensor
    threshold: float

    def take(self, rows: np.ndarray) -> 'UnpastedMasks':
        """Choose masks, where they are.

        Args:
            rows: (m,) indices.

        Returns:
            The m masks.
        """
        index = torch.from_numpy(rows).to(self.boxes.device)
        return self._replace(
            scores=self.scores[index], boxes=self.boxes[index])

    def encode(self, size: Tuple[int, int]) -> List[bytes]:
        """Take all of them off the device and paste them into the image.

        Args:
            size: (height, width) of the image.

        Returns:
            n compressed counts.
        """
        crops = paste_crops(self.scores.cpu().float(), self.boxes.cpu(), size,
                            self.threshold)
        return [
            encode_crop(crop.numpy(), top, left, size)
            for top, left, crop in crops
        ]


class RLEMasks:
    """The n masks of an image, a few hundred bytes each.

    They take the place of the (n, height, width) bool tensor in
    ``pred_instances.masks``: length, shape, indexing, iteration, ``numpy()``
    and ``np.asarray`` behave as there, and so MMDetection's visualizer and
    its dump of results work. A bitmap is made when it is asked for. An
    evaluator that knows them takes ``rles``, of the part that it needs.

    Masks that are not pasted yet stay on their device until somebody looks:
    a part that is chosen by a slice or by indices leaves the others alone;
    a single mask, ``rles`` and the rest need them all, and do it once.

    Args:
        masks: n compressed counts, or the masks before they are pasted.
        size: (height, width) of the image.
    """

    def __init__(self, masks: Union[Sequence[bytes], UnpastedMasks],
                 size: Tuple[int, int]) -> None:
        self.size = size
        self._masks = masks

    def _counts(self) -> List[bytes]:
        if isinstance(self._masks, UnpastedMasks):
            self._masks = self._masks.encode(self.size)
        return self._masks

    @property
    def rles(self) -> List[dict]:
        """N dicts with ``size`` and ``counts``, as in the COCO format."""
        return [
            dict(size=list(self.size), counts=item) for item in self._counts()
        ]

    @property
    def shape(self) -> torch.Size:
        """(n, height, width)."""
        return torch.Size((len(self), *self.size))

    def __len__(self) -> int:
        unpasted = isinstance(self._masks, UnpastedMasks)
        return len(self._masks.boxes if unpasted else self._masks)

    def __repr__(self) -> str:
        return f'RLEMasks{tuple(self.shape)}'

    def __reduce__(self) -> Tuple:
        return RLEMasks, (self._counts(), self.size)

    def __getitem__(self, item: Any) -> Union[Tensor, 'RLEMasks']:
        """Return one (height, width) bool bitmap, or a part of the masks."""
        chosen = np.arange(len(self))[_to_index(item)]
        if chosen.ndim == 0:
            rle = dict(size=self.size, counts=self._counts()[int(chosen)])
            return torch.from_numpy(mask_utils.decode(rle)).bool()
        if isinstance(self._masks, UnpastedMasks):
            return RLEMasks(self._masks.take(chosen), self.size)
        return RLEMasks([self._masks[i] for i in chosen], self.size)

    @staticmethod
    def cat(parts: List['RLEMasks']) -> 'RLEMasks':
        """Put the masks of one image together again.

        Args:
            parts: At least one, all of the same image.

        Returns:
            All masks.
        """
        masks = [part._masks for part in parts]
        if all(isinstance(item, UnpastedMasks) for item in masks):
            whole = masks[0]._replace(
                scores=torch.cat([item.scores for item in masks]),
                boxes=torch.cat([item.boxes for item in masks]))
            return RLEMasks(whole, parts[0].size)
        counts = [item for part in parts for item in part._counts()]
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
        """Take what is still on a device off it."""
        self._counts()
        return self


def _to_index(item: Any) -> Any:
    return item.cpu().numpy() if isinstance(item, Tensor) else item
