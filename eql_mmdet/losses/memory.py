"""What the losses share that remember earlier batches."""
from typing import Any, Callable, Dict, Optional

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from .contract import BoxLoss


def sum_over_ranks(found: Tensor) -> Tensor:
    """Add up what every process has found in its part of a batch.

    Every process must call it in every step, also one without RoIs. What
    is not finite is left out: one batch with a broken logit would otherwise
    spoil the memory for ever, while AMP only skips the step.

    Args:
        found: Sums of this process, any shape.

    Returns:
        The same over all processes, without a gradient.
    """
    found = found.detach().float()
    found = torch.where(found.isfinite(), found, 0)
    all_reduce(found)
    return found


class MemoryLoss(BoxLoss):
    """Base of the losses that remember what earlier batches have taught.

    The memory consists of float32 buffers (K,), saved with the model and
    resumed with it, the same in all processes. It grows in every forward
    pass of the training, with gradient accumulation in each of a step.

    Args:
        memory: Name of each buffer, and its value before the first batch.
        num_classes: K; None takes it from the head that asks for channels.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If the reduction is another.
    """

    def __init__(self, memory: Dict[str, float], num_classes: Optional[int],
                 reduction: str, loss_weight: float) -> None:
        super().__init__(reduction, loss_weight)
        self.memory = memory
        self.num_classes = num_classes
        for name in memory:
            self.register_buffer(name, None)
        if num_classes is not None:
            self._start_memory(num_classes)

    def _start_memory(self, num_classes: int) -> None:
        for name, value in self.memory.items():
            setattr(self, name, torch.full((num_classes, ), value))

    def check_classes(self, num_classes: int) -> None:
        """Learn the number of categories from the head, or compare it.

        Args:
            num_classes: K of the head.

        Raises:
            ValueError: If the loss was built for another number, or is
                asked by heads of different numbers.
        """
        if self.num_classes is None:
            self.num_classes = num_classes
            self._start_memory(num_classes)
        elif num_classes != self.num_classes:
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'{type(self).__name__} has num_classes={self.num_classes}; '
                f'leave it out of the loss to take that of the head')

    @property
    def is_learning(self) -> bool:
        """Whether a forward pass adds to the memory."""
        return self.training and torch.is_grad_enabled()

    def _apply(self, fn: Callable, *args: Any) -> 'MemoryLoss':
        """Move the memory with the model, but never to half precision."""
        before = {name: getattr(self, name) for name in self.memory}
        super()._apply(fn, *args)
        for name, old in before.items():
            new = getattr(self, name)
            if old is not None and new.dtype != old.dtype:
                setattr(self, name, old.to(new.device))
        return self

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return f'num_classes={self.num_classes}, {super().extra_repr()}'
