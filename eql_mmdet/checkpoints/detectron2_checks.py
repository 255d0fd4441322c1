"""Is this the checkpoint of a Mask R-CNN that the configs can hold?"""
from typing import Any, List, Mapping

import numpy as np
import torch
from torch import Tensor

from .detectron2_layout import COUNTER, Entry

ANCHORS = 'proposal_generator.anchor_generator.cell_anchors.'


def check_tensor(name: Any, value: Any) -> Tensor:
    """Take a parameter or buffer as a tensor.

    Args:
        name: Its name.
        value: A tensor, or a numpy array of any byte order.

    Returns:
        The same values and precision as a tensor.

    Raises:
        TypeError: If the name is not a string or the value not of floating
            point; counters may be integers.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in 'fiu':
        # A copy in this machine's byte order, which torch may write to.
        value = torch.from_numpy(
            value.astype(value.dtype.newbyteorder('='), copy=True))
    counter = isinstance(name, str) and name.endswith(COUNTER)
    if not isinstance(name, str) or not isinstance(
            value, Tensor) or value.is_floating_point() == counter:
        kind = getattr(value, 'dtype', type(value).__name__)
        raise TypeError(
            f'expected a name and a tensor or array of floating point (of '
            f'integers for {COUNTER}), but {name!r} holds {kind}; give the '
            f'file of a detector, not of something else')
    return value


def check_names(state: Mapping[str, Tensor], names: Mapping[str, Entry],
                side: str) -> None:
    """Refuse a checkpoint with tensors that are missing or unknown.

    Args:
        state: Name -> tensor.
        names: The names that are expected.
        side: Whose names they are, ``'detectron2'`` or ``'mmdet'``.

    Raises:
        ValueError: If names differ; all of them are listed.
    """
    missing = [f'  missing: {name}' for name in names if name not in state]
    unknown = [f'  unknown: {name}' for name in state if name not in names]
    if not missing and not unknown:
        return
    text = (f'expected the tensors of {side}\'s Mask R-CNN with ResNet-50 or '
            f'-101 and FPN, but {len(missing)} are missing and '
            f'{len(unknown)} unknown')
    other_side = {n for entry in names.values() for n in entry[:2]} - {*names}
    if not other_side.isdisjoint(state):
        text += ' (names of the other side: convert the other way round)'
    raise ValueError('\n'.join([text, *missing, *unknown]))


def count_categories(widths: Mapping[str, int]) -> List[int]:
    """Tell the number of categories from the rows of the three predictors.

    Args:
        widths: ``scores``, the outputs of the classifier; ``boxes`` and
            ``masks``, how many of them a RoI gets.

    Returns:
        The K that fit: ``scores`` for sigmoid, ``scores - 1`` for softmax;
        both where boxes and masks are class-agnostic.

    Raises:
        ValueError: If none fits.
    """
    scores, boxes, masks = (widths[k] for k in ('scores', 'boxes', 'masks'))
    fitting = [
        k for k in (scores, scores - 1)
        if k > 0 and boxes in (1, k) and masks in (1, k)
    ]
    if not fitting:
        raise ValueError(
            f'expected K or K + 1 scores and 1 or K boxes and masks a RoI, '
            f'but got {scores} scores, {boxes} boxes and {masks} masks')
    return fitting


def check_anchors(constants: Mapping[str, Tensor]) -> None:
    """Refuse anchors other than those of the configs.

    Args:
        constants: Name -> tensor. ``cell_anchors`` of five levels are (3, 4):
            x1, y1, x2, y2 in pixels around 0, of areas 32^2 to 512^2 and
            height / width 0.5, 1, 2. A level without any is not checked.

    Raises:
        ValueError: If they are others.
    """
    ratios = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for level in range(5):
        found = constants.get(f'{ANCHORS}{level}')
        half = (16 << level) * torch.stack([ratios**-0.5, ratios**0.5], 1)
        expected = torch.cat([-half, half], 1)
        if found is None:
            continue
        if found.shape != expected.shape or not torch.allclose(
                found.double(), expected, rtol=1e-3):
            raise ValueError(
                f'expected one anchor of {32 << level} px for each of the '
                f'ratios 0.5, 1, 2 at level {level}, but {ANCHORS}{level} '
                f'holds {found.tolist()}; the configs have no such anchors')
