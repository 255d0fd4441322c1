"""Train the box head of a detector again, from pooled features."""
import math
from typing import Any, Dict, Iterable, Iterator, NamedTuple

import mmengine
import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..host.files import whole_file
from .feature_files import Features


class Schedule(NamedTuple):
    """How the head is trained: SGD, warm-up, then a cosine down to zero.

    Attributes:
        steps: Of the optimizer.
        rois_per_step: RoIs in each.
        lr: The largest learning rate.
        momentum: Of SGD.
        weight_decay: Of all parameters of the head.
    """
    steps: int = 1000
    rois_per_step: int = 512
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4


def check_schedule(schedule: Schedule) -> None:
    """Refuse settings that cannot be meant.

    Args:
        schedule: Of the command line.

    Raises:
        ValueError: If a number is out of range.
    """
    for name in ('steps', 'rois_per_step', 'lr'):
        if not getattr(schedule, name) > 0:
            raise ValueError(f'expected {name} > 0, but got '
                             f'{getattr(schedule, name)}')
    if not 0 <= schedule.momentum < 1:
        raise ValueError(f'expected momentum in [0, 1), but got '
                         f'{schedule.momentum}')
    if not schedule.weight_decay >= 0:
        raise ValueError(f'expected weight_decay >= 0, but got '
                         f'{schedule.weight_decay}')


def learning_rate(step: int, schedule: Schedule) -> float:
    """Give the learning rate of a step.

    Args:
        step: From 0.
        schedule: Of the training.

    Returns:
        Rises linearly over the first tenth, at most 100 steps, and falls
        along a cosine to zero.
    """
    warm_up = min(100, schedule.steps // 10)
    rise = min(1.0, (step + 1) / (warm_up + 1))
    return schedule.lr * rise * (1 +
                                 math.cos(math.pi * step / schedule.steps)) / 2


def drawn_images(sampler: Any) -> Iterator[int]:
    """Draw images as a training of many epochs does.

    Args:
        sampler: Of the host, with or without an end.

    Yields:
        Indices, for ever.

    Raises:
        ValueError: If the sampler has no image.
    """
    epoch = 0
    while True:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
        index = None
        for index in sampler:
            yield index
        if index is None:
            raise ValueError(f'{type(sampler).__name__} draws no image')
        epoch += 1


def batches(offsets: np.ndarray, images: Iterable[int],
            size: int) -> Iterator[np.ndarray]:
    """Cut the RoIs of one image after the other into batches.

    Args:
        offsets: (N + 1,) where the RoIs of each image begin.
        images: Indices of images.
        size: RoIs of a batch.

    Yields:
        (size,) numbers of RoIs; what one batch leaves of an image the next
        one begins with.
    """
    rows = np.zeros(0, np.int64)
    for image in images:
        found = np.arange(offsets[image], offsets[image + 1])
        rows = np.concatenate([rows, found])
        while len(rows) >= size:
            yield rows[:size]
            rows = rows[size:]


def start_head(head: nn.Module, seed: int) -> None:
    """Initialise a head; what a checkpoint has is loaded over it.

    Args:
        head: The box head, not initialised yet.
        seed: Also of what the loss draws in training.
    """
    torch.manual_seed(seed)
    head.init_weights()


def retrain(model: nn.Module, features: Features, images: Iterable[int],
            schedule: Schedule) -> float:
    """Train the box head; the rest of the model stays as it is.

    Args:
        model: The detector on its device, changed in place.
        features: Of its training set.
        images: Indices of images in the order of training.
        schedule: Of the training.

    Returns:
        Mean loss of the last tenth of the steps.

    Raises:
        ValueError: If the loss is not finite.
    """
    head = model.roi_head.bbox_head
    optimizer = torch.optim.SGD(
        head.parameters(),
        schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay)
    head.train()
    interval, recent = max(1, schedule.steps // 10), []
    drawn = batches(features.offsets, images, schedule.rois_per_step)
    for step, rows in zip(range(schedule.steps), drawn):
        for group in optimizer.param_groups:
            group['lr'] = learning_rate(step, schedule)
        loss, logged = model.parse_losses(head_losses(head, features, rows))
        recent = recent[-interval + 1:] + [loss.item()]
        if not math.isfinite(recent[-1]):
            raise ValueError(f'the loss is {recent[-1]} in step {step + 1}; '
                             f'try a smaller --lr than {schedule.lr}')
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % interval == 0 or step + 1 == schedule.steps:
            _log(step + 1, schedule, recent, logged)
    head.eval()
    return sum(recent) / len(recent)


def head_losses(head: nn.Module, features: Features,
                rows: np.ndarray) -> Dict[str, Tensor]:
    """Compute the losses of some RoIs.

    Args:
        head: The box head.
        features: Of the training set.
        rows: (R,) numbers of RoIs.

    Returns:
        The host's dictionary of losses.
    """
    device = next(head.parameters()).device
    # Indexing reads these rows from the files and nothing else.
    values = torch.from_numpy(features.values[rows]).to(device).float()
    rois = features.rois[rows]
    targets = [
        torch.from_numpy(np.ascontiguousarray(rois[name])).to(device)
        for name in rois.dtype.names
    ]
    return head.loss(*head(values), *targets)


def _log(step: int, schedule: Schedule, recent: list, logged: dict) -> None:
    parts = ', '.join(f'{k} {float(v.detach()):.4f}'
                      for k, v in logged.items() if k != 'loss')
    print_log(
        f'step {step} of {schedule.steps}, '
        f'lr {learning_rate(step - 1, schedule):.2e}, loss '
        f'{sum(recent) / len(recent):.4f} (the last step: {parts})',
        logger='current')


def save_detector(path: Any, model: nn.Module, meta: Dict[str, Any]) -> None:
    """Write a checkpoint for testing and ``init_detector``.

    Args:
        path: Of the checkpoint.
        model: The detector.
        meta: ``dataset_meta`` and whatever else belongs to it.

    Raises:
        FileExistsError: If there is such a file.
    """
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    with whole_file(path, 'wb', replace=False) as file:
        torch.save(
            dict(
                meta=dict(meta, mmengine_version=mmengine.__version__),
                state_dict=state), file)
