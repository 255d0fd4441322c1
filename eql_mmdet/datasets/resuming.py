"""A training that was stopped goes on as if it had not been."""
from itertools import repeat
from typing import Any, Generator, Iterator, Optional

from mmdet.registry import HOOKS, LOOPS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.nn import Module

from .places import seed_everything


@LOOPS.register_module()
class ResumableIterTrainLoop(IterBasedTrainLoop):
    """The host's iteration loop, which finds its place without loading.

    The host's loads and drops all batches before the place where a training
    is resumed. Here their indices are drawn, in the order of the host, and
    no image is read. The loader goes from epoch to epoch on its own: the
    host's waits two seconds and starts its processes anew after each.

    Args:
        runner: The host's.
        dataloader: Settings whose batch sampler is
            ``ResumableBatchSampler``.
        *args: As for the host's loop.
        **kwargs: The same.

    Raises:
        TypeError: If the loader has another batch sampler.
    """

    def __init__(self, runner: Runner, dataloader: Any, *args,
                 **kwargs) -> None:
        if isinstance(dataloader, dict):
            dataloader = runner.build_dataloader(
                dataloader,
                seed=runner.seed,
                diff_rank_seed=_ranks_differ(runner))
        batches = dataloader.batch_sampler
        if not hasattr(batches, 'start'):
            raise TypeError(
                f'{type(self).__name__} expects a loader with '
                f'batch_sampler=dict(type="ResumableBatchSampler", ...), but '
                f'got {type(batches).__name__}')
        super().__init__(runner, _NotYet(dataloader), *args, **kwargs)
        self.dataloader = dataloader
        self.dataloader_iterator = _FromPlace(self)

    def run(self) -> Module:
        """Train, and end the processes that load, unless they persist.

        As garbage they would be waited for, five seconds each.

        Returns:
            The trained model.
        """
        model = super().run()
        self.dataloader_iterator.close()
        return model


class _FromPlace:
    """The batches of a loop from its place on; the first one starts it."""

    def __init__(self, loop: ResumableIterTrainLoop) -> None:
        self._batches = self._load(loop)

    def skip_iter(self, number: int) -> None:
        """Take note of nothing: onedl-mmengine says here what it drops."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def close(self) -> None:
        """Give up the loader."""
        self._batches.close()

    @staticmethod
    def _load(loop: ResumableIterTrainLoop) -> Generator:
        done = loop._iter
        loop.dataloader.batch_sampler.start = done
        # mmengine asks for all batches before the place, to drop them.
        dropped = 0 if hasattr(_InfiniteDataloaderIterator,
                               'skip_iter') else done
        yield from repeat(None, dropped)
        yield from loop.dataloader


class _NotYet:
    """A loader for the host's constructor, which would start it."""

    def __init__(self, dataloader: Any) -> None:
        self.dataset = dataloader.dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@HOOKS.register_module()
class ResumeHook(Hook):
    """Make all random numbers of a training a function of their place.

    What a step draws (RoIs, masks of a loss) depends on the seed of the run
    and the iteration, what a pipeline draws on the batch and the image, see
    ``ResumableBatchSampler``. The host keeps no state of its generators, so
    that a resumed run drew other numbers. Every training with a config of
    this package has this hook.
    """
    priority = 'HIGHEST'

    def before_run(self, runner: Runner) -> None:
        """Note the seed that the samplers were built with.

        Args:
            runner: The host's.
        """
        self._built_with = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Hand the seed of the run on: resumed, it is that of its start.

        Args:
            runner: The host's.
        """
        batches = runner.train_dataloader.batch_sampler
        if hasattr(batches, 'start'):
            batches.seed = runner.seed
        sampler = getattr(batches, 'sampler', None)
        if getattr(sampler, 'seed', None) == self._built_with:
            sampler.seed = runner.seed

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[Any] = None) -> None:
        """Seed the step.

        Args:
            runner: The host's.
            batch_idx: Number of the batch in its epoch.
            data_batch: The batch.
        """
        # Processes draw the same numbers unless the config says otherwise.
        rank = get_rank() if _ranks_differ(runner) else 0
        seed_everything(runner.seed, 0, rank, runner.iter)


def _ranks_differ(runner: Runner) -> bool:
    return bool(runner._randomness_cfg.get('diff_rank_seed', False))
