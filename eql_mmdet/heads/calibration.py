"""Calibrated scores: a K + 1 softmax made fairer to rare categories."""
from math import inf
from typing import Any, Mapping, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from ..annotations.category_counts import CategoryCounts, is_there, load_counts
from ..annotations.findings import list_findings
from ..annotations.reader import read_annotations
from ..host.logs import warn_each
from ..rarity.fractal_dimension import box_centres, fractal_dimension
from ..rarity.frequency import without_images
from ..rarity.logit_shifts import (fracal_shift, logit_adjustment_shift,
                                   norcal_shift)

#: The one number of each type.
STRENGTHS = dict(
    norcal='gamma', logit_adjustment='tau', fracal='dimension_power')
#: Lambda of FRACAL in its released code.
DIMENSION_POWER = 2.0
#: Most categories that a warning names.
_NAMED = 10


def shift_logits(logits: Tensor, shift: Tensor) -> Tensor:
    """Add to the logits of the categories; background stays as it is.

    Args:
        logits: (R, K + 1), the last column is background.
        shift: (K,).

    Returns:
        (R, K + 1) logits, float32 or better.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    if logits.ndim != 2 or logits.shape[1:] != (len(shift) + 1, ):
        raise ValueError(
            f'expected logits (R, {len(shift) + 1}), the last column '
            f'background, for a calibration of {len(shift)} categories, but '
            f'got {tuple(logits.shape)}')
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits + nn.functional.pad(shift.to(logits), (0, 1))


def divide_scores(logits: Tensor, divisor: Tensor) -> Tensor:
    """Divide the softmax scores of the categories.

    What they lose goes to the background, so that the result is again what
    a softmax makes scores of: the scores divided, to rounding.

    Args:
        logits: (R, K + 1), the last column is background.
        divisor: (K,), at least 1.

    Returns:
        (R, K + 1) logs of scores that sum to 1.
    """
    divisor = divisor.to(logits)
    log_scores = logits.log_softmax(dim=1)
    scores = log_scores.exp()
    lost = (scores[:, :-1] * (1 - 1 / divisor)).sum(dim=1, keepdim=True)
    return torch.cat([
        log_scores[:, :-1] - divisor.log(),
        (scores[:, -1:] + lost).log(),
    ], dim=1)  # yapf: disable


class Settings(NamedTuple):
    """Checked settings of a calibration.

    Attributes:
        kind: A key of ``STRENGTHS``.
        strength: Its number.
        source: Where the counts come from.
        classes: Names in label order; None for those of the source.
    """
    kind: str
    strength: float
    source: str
    classes: Optional[Tuple[str, ...]]


def read_settings(calibration: Any) -> Settings:
    """Check the settings of a calibration.

    Args:
        calibration: As for :class:`CalibratedScores`.

    Returns:
        The settings.

    Raises:
        ValueError: If something is missing, unknown or out of range, or
            the training set is not there.
    """
    given = dict(calibration) if isinstance(calibration, Mapping) else {}
    kind = given.get('type')
    name = STRENGTHS.get(kind) if isinstance(kind, str) else None
    if kind == 'fracal':
        given.setdefault(name, DIMENSION_POWER)
    needed = {'type', 'frequency_source', name}
    if not needed <= set(given) <= needed | {'classes'}:
        raise ValueError(
            f'expected calibration to be None or a dict with "type", '
            f'"frequency_source", for each type its own number {STRENGTHS}, '
            f'and "classes" if need be, but got {calibration!r}')
    strength = given[name]
    is_number = isinstance(strength, (int, float)) and strength is not True
    if not (is_number and 0 <= strength < inf):
        raise ValueError(f'expected {name} of calibration type "{kind}" to '
                         f'be a number from 0 on, but got {strength!r}')
    source = given['frequency_source']
    _check_source(kind, source)
    return Settings(kind, strength, str(source), given.get('classes'))


def _check_source(kind: str, source: Optional[str]) -> None:
    way_out = 'or set calibration=None to test without'
    if source is None:
        raise ValueError(
            f'frequency_source=None of a calibration takes the annotation '
            f'file of the training set, but the config has no training set; '
            f'name the file, {way_out}')
    if kind == 'fracal' and not str(source).endswith('.json'):
        raise ValueError(
            f'calibration type "fracal" needs the boxes of the training set, '
            f'so expects an annotation file (.json) as frequency_source, but '
            f'got "{source}"; give the file, or take another type')
    if not is_there(source):
        raise ValueError(
            f'calibration type "{kind}" needs the training set at test time, '
            f'but there is no frequency_source="{source}"; give the training '
            f'annotations{"" if kind == "fracal" else " or a counts file"}, '
            f'{way_out}')


class Calibration(nn.Module):
    """Turns the logits of a K + 1 softmax into calibrated ones.

    All it has are buffers that are not persistent: a checkpoint neither has
    nor needs them.

    Args:
        settings: Checked settings.
        num_classes: K of the head.

    Raises:
        ValueError: If the counts cannot be read, lack a class or are of
            another number of categories.
    """

    def __init__(self, settings: Settings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.source = settings.source
        counts = load_counts(settings.source, settings.classes)
        #: K names in label order.
        self.classes = counts.names
        self._check_number(num_classes)
        warn_each(list_findings(counts.source, counts.findings))
        self._tell_without_images(counts)
        shift, divisor = _numbers(settings, counts)
        #: (K,) added to the logits of the categories.
        self.register_buffer('shift', shift, persistent=False)
        #: (K,) by which the scores are divided afterwards, or None.
        self.register_buffer('divisor', divisor, persistent=False)

    def forward(self, cls_score: Tensor) -> Tensor:
        """Calibrate.

        Args:
            cls_score: (R, K + 1) logits, the last column background.

        Returns:
            (R, K + 1) logits, float32 or better.
        """
        logits = shift_logits(cls_score, self.shift)
        if self.divisor is None:
            return logits
        return divide_scores(logits, self.divisor)

    def _check_number(self, num_classes: int) -> None:
        if len(self.classes) != num_classes:
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'frequency_source="{self.source}" of its calibration has '
                f'{len(self.classes)} categories; name those of the model in '
                f'classes=(...) of the calibration')

    def _tell_without_images(self, counts: CategoryCounts) -> None:
        empty = without_images(counts)
        if empty:
            more = ', ...' if len(empty) > _NAMED else ''
            warn_each([
                f'calibration "{self.settings.kind}": {len(empty)} of '
                f'{len(self.classes)} categories have no image in '
                f'{self.source} and count as if '
                f'they had one: {", ".join(empty[:_NAMED])}{more}'
            ])

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        kind, strength, source, _ = self.settings
        return f'{kind}, {STRENGTHS[kind]}={strength}, source={source}'


def _numbers(settings: Settings,
             counts: CategoryCounts) -> Tuple[Tensor, Optional[Tensor]]:
    """Compute the shift of the logits and the divisor of the scores."""
    kind, strength = settings.kind, settings.strength
    if kind == 'norcal':
        return norcal_shift(counts.image_count, strength), None
    if kind == 'logit_adjustment':
        return logit_adjustment_shift(counts.image_count, strength), None
    places = box_centres(read_annotations(settings.source), counts.names)
    dimension = fractal_dimension(*places, len(counts.names))
    return (fracal_shift(counts.image_count),
            torch.from_numpy(dimension**strength).float())
