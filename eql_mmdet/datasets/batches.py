"""Batches whose random numbers depend on their place in the training."""
from itertools import islice
from typing import Any, Iterator, List, Optional

from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, Sampler

from .places import SeededBatch


class _ShapesOnly(Sampler):
    """A sampler for who asks its data set for the shape of an image, no more.

    Making an image's whole record takes a hundred times as long, and a
    million of them are asked for on the way to a late place.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.dataset = self

    def __iter__(self) -> Iterator[int]:
        return iter(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)

    def get_data_info(self, index: int) -> dict:
        width, height = self._sampler.dataset.image_size(index)
        return dict(width=width, height=height)


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler):
    """The batches of another batch sampler, from any place on.

    Every config of this package gets it around the batch sampler that it
    names. The indices are the same; the numbers that pipelines draw are a
    function of seed, process, epoch and place (``seed`` is set by
    ``ResumeHook``; without one they are drawn as the host does).

    Args:
        sampler: Of indices.
        batch_size: For the batch sampler.
        batches: Settings of the batch sampler; by default torch's.
        drop_last: Whether torch's drops a batch that is not full.
    """

    def __init__(self,
                 sampler: Sampler,
                 batch_size: int,
                 batches: Optional[dict] = None,
                 drop_last: bool = False) -> None:
        self.sampler = sampler  # the host calls its set_epoch
        self.batch_size = batch_size
        if batches is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batches = DATA_SAMPLERS.build(
                batches,
                default_args=dict(
                    sampler=_asked(sampler, batches), batch_size=batch_size))
        self.seed: Optional[int] = None
        self.start: Optional[int] = None

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of an epoch, or those from ``start`` on."""
        if self.start is None:
            yield from self._epoch(getattr(self.sampler, 'epoch', 0))
        else:
            yield from islice(self._epochs(), self.start, None)

    def _epochs(self) -> Iterator[Any]:
        epoch = 0
        while True:
            # As the host's iteration loop does it, which starts at epoch 0.
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            number = -1
            for number, batch in enumerate(self._epoch(epoch)):
                yield batch
            if number < 0:
                raise ValueError(
                    f'expected batches of {self.batch_size} images, but '
                    f'an epoch of {len(self.sampler)} images has none; '
                    f'lower batch_size or leave out drop_last')
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[Any]:
        for number, batch in enumerate(self.batches):
            yield self._seeded(batch, epoch, number)

    def _seeded(self, batch: List[int], epoch: int, number: int) -> Any:
        if self.seed is None:
            return batch
        return SeededBatch(batch, (self.seed, 1, get_rank(), epoch, number))


def _asked(sampler: Sampler, batches: dict) -> Sampler:
    """Choose what a batch sampler may ask of the data set."""
    kind = DATA_SAMPLERS.get(batches['type'])
    has_sizes = hasattr(getattr(sampler, 'dataset', None), 'image_size')
    is_known = kind is AspectRatioBatchSampler and has_sizes
    return _ShapesOnly(sampler) if is_known else sampler
