"""Record during training what pushes the scores of every category."""
import csv
import os.path as osp
from functools import partial
from typing import Any, Optional, Tuple, Union

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from .pressure import Pressure, category_pressure

#: By this much, times R, a loss is scaled for a gradient in half precision.
HALF_SCALE = 2**14
COLUMNS = ('iteration', 'category', 'name', *Pressure._fields)


@HOOKS.register_module()
class CategoryPressureHook(Hook):
    """Write a table of positive and negative gradient by category.

    For the classification loss of the box head, whatever it is; in a cascade
    the stages are added. Every ``interval`` iterations, and at the end of
    training, ``category_pressure.csv`` beside the log file gets a line a
    category: the sums since the last time, as in
    :class:`~eql_mmdet.reports.pressure.Pressure`, over all processes. The
    gradient is that of the loss as it is trained, before any loss scaling.
    Costs another backward pass of the classification loss alone, in half
    precision two (see :func:`logit_gradient`).

    Args:
        interval: Iterations between two tables, at least 1.

    Raises:
        ValueError: If ``interval`` is not positive.
        TypeError: If the model has no box head with a ``loss_cls``.
    """
    priority = 'LOW'

    def __init__(self, interval: int) -> None:
        if interval < 1:
            raise ValueError(f'expected an interval of at least 1 iteration, '
                             f'but got {interval}')
        self.interval = interval
        self._sums: Optional[Tensor] = None
        self._handles: list = []

    def before_train(self, runner: Runner) -> None:
        """Watch the classification loss.

        Args:
            runner: The host's.
        """
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        heads = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
        heads = heads if isinstance(heads, nn.ModuleList) else [heads]
        for head in heads:
            if not hasattr(head, 'loss_cls'):
                raise TypeError('CategoryPressureHook expects a model with '
                                'roi_head.bbox_head.loss_cls, but '
                                f'{type(model).__name__} has none')
            self._handles.append(
                head.loss_cls.register_forward_hook(
                    partial(self._watch, head.num_classes)))

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Write a table now and then.

        Args:
            runner: The host's.
            batch_idx: Not used.
            data_batch: Not used.
            outputs: Not used.
        """
        if self.every_n_train_iters(runner, self.interval):
            self._write(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Write what is left and stop watching.

        Args:
            runner: The host's.
        """
        self._write(runner, runner.iter)
        while self._handles:
            self._handles.pop().remove()

    def _watch(self, num_classes: int, loss_cls: nn.Module, args: Tuple,
               output: Union[Tensor, dict]) -> None:
        logits, labels = args[:2]
        if not (logits.requires_grad and torch.is_grad_enabled()):
            return
        if isinstance(output, dict):  # as SeesawLoss, losses by name
            output = sum(v for k, v in output.items() if 'loss' in k)
        gradient = logit_gradient(output.sum(), logits)
        with torch.no_grad():
            scores = (
                loss_cls.get_activation(logits) if getattr(
                    loss_cls, 'custom_cls_channels', False) else
                logits.softmax(dim=-1))
            found = category_pressure(gradient, scores, labels, num_classes)
        found = torch.stack(list(found))
        self._sums = found if self._sums is None else self._sums + found

    def _write(self, runner: Runner, iteration: int) -> None:
        if self._sums is None:
            return
        sums, self._sums = self._sums, None
        all_reduce(sums)
        classes = runner.train_dataloader.dataset.metainfo['classes']
        _append(
            osp.join(runner.log_dir, 'category_pressure.csv'), iteration,
            classes, sums.T.tolist())


def logit_gradient(loss: Tensor, logits: Tensor) -> Tensor:
    """Derive a loss by logits that may be in half precision.

    The mean over R RoIs makes the many small gradients of a category too
    small for float16: at a logit of -11 and 1,024 RoIs their sum comes to
    0.08 of what it is. So the loss is scaled first, as AMP does, by
    R * 2^14: a RoI that teaches as much as it can, 1 a score, then stays
    below the largest float16, and logits down to -25 still count. Where a
    loss teaches more, so that a value overflows, it is taken unscaled.

    Args:
        loss: Scalar.
        logits: (R, C), part of the graph of ``loss``, which is kept.

    Returns:
        (R, C) gradient, float32 or better.
    """
    gradient, = torch.autograd.grad(loss, logits, retain_graph=True)
    if logits.dtype != torch.float16:  # bfloat16 has the range of float32
        return gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    scale = len(logits) * HALF_SCALE
    scaled, = torch.autograd.grad(
        loss.float() * scale, logits, retain_graph=True)
    return torch.where(scaled.isfinite(),
                       scaled.float() / max(scale, 1), gradient.float())


@master_only
def _append(path: str, iteration: int, classes: Tuple[str, ...],
            rows: list) -> None:
    is_new = not osp.exists(path)
    with open(path, 'a', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        if is_new:
            writer.writerow(COLUMNS)
        for label, (name, row) in enumerate(zip(classes, rows)):
            writer.writerow([iteration, label, name, *row])
