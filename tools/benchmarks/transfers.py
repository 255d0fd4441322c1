"""How much a call takes off the device; for the benchmarks beside this file.

Calls of ``Tensor.cpu`` are counted, so that a CPU shows what a GPU would copy.
"""
import torch
from torch.overrides import TorchFunctionMode


class _CountCopies(TorchFunctionMode):

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            self.sizes.append(args[0].numel() * args[0].element_size())
        return func(*args, **(kwargs or {}))


def count_copies(run):
    """Return how many tensors ``run`` takes off the device, and bytes."""
    with _CountCopies() as copies:
        run()
    return len(copies.sizes), sum(copies.sizes)
