"""Remedies for a long tail, compared: means with intervals over seeds."""
import math
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

ITEMS = ('AP', 'APr', 'APc', 'APf')
#: Quantiles of Student's t for 95 % on both sides, by degrees of freedom.
T_95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
        2.262, 2.228)


class Remedy(NamedTuple):
    """What is done against the long tail.

    Attributes:
        loss: Name of its config.
        sampler: What decides which image comes next.
        calibration: Of the scores, or ``'none'``.
        length: Of the training, such as ``'1000 steps'``.
    """
    loss: str
    sampler: str
    calibration: str
    length: str


class Outcome(NamedTuple):
    """What one training came to.

    Attributes:
        remedy: What was done.
        seed: Of the training.
        values: (protocol, detections) -> item of ``ITEMS`` -> fraction.
    """
    remedy: Remedy
    seed: int
    values: Dict[Tuple[str, int], Dict[str, float]]


class Mean(NamedTuple):
    """A mean and how well it is known.

    Attributes:
        value: The mean, a fraction.
        half_width: Half of its 95 % interval, by Student's t; NaN of one.
        number: How many were averaged.
    """
    value: float
    half_width: float
    number: int


def mean_of(values: Sequence[float]) -> Mean:
    """Average the seeds of one remedy.

    Args:
        values: One fraction a seed.

    Returns:
        Their mean with its interval.

    Raises:
        ValueError: If there is none.
    """
    number = len(values)
    if not number:
        raise ValueError('expected at least one value, but got none')
    if number == 1:
        return Mean(float(values[0]), math.nan, 1)
    # Beyond the table the last entry is a little too wide.
    quantile = T_95[min(number, len(T_95)) - 1]
    half_width = quantile * np.std(values, ddof=1) / math.sqrt(number)
    return Mean(float(np.mean(values)), float(half_width), number)


def by_remedy(outcomes: Iterable[Outcome]) -> Dict[Remedy, List[Outcome]]:
    """Collect the seeds of each remedy, in the order of their first.

    Args:
        outcomes: In any order.

    Returns:
        Remedy -> its outcomes.
    """
    found: Dict[Remedy, List[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.remedy, []).append(outcome)
    return found


def best_first(outcomes: Iterable[Outcome], protocol: str,
               detections: int) -> List[Remedy]:
    """Rank remedies by their mean AP.

    Args:
        outcomes: Of all of them.
        protocol: Which AP.
        detections: Of an image.

    Returns:
        The remedies, best first; equal ones in the order of ``outcomes``.
    """
    found = by_remedy(outcomes)
    return sorted(
        found,
        key=lambda remedy: -mean_of(
            [o.values[protocol, detections]['AP']
             for o in found[remedy]]).value)


def remedy_table(outcomes: Iterable[Outcome], protocol: str,
                 detections: Sequence[int]) -> str:
    """Lay out the means of remedies.

    Args:
        outcomes: Of one kind of training.
        protocol: Which AP.
        detections: Numbers of detections of an image.

    Returns:
        A Markdown table in percent, one line a remedy.
    """
    columns = [(number, item) for number in detections for item in ITEMS]
    heads = [
        *Remedy._fields, 'seeds',
        *(f'{item}@{number}' for number, item in columns)
    ]
    lines = [_line(heads), _line(['---'] * 4 + ['---:'] * (len(heads) - 4))]
    for remedy, seeds in by_remedy(outcomes).items():
        means = [
            mean_of([o.values[protocol, number][item] for o in seeds])
            for number, item in columns
        ]
        lines.append(_line([*remedy, str(len(seeds)), *map(percent, means)]))
    return '\n'.join(lines) + '\n'


def percent(mean: Mean) -> str:
    """Write a mean as people read it.

    Args:
        mean: Of fractions.

    Returns:
        Such as ``'12.34 ± 0.56'``, without an interval of one value.
    """
    text = f'{100 * mean.value:.2f}'
    if math.isnan(mean.half_width):
        return text
    return f'{text} ± {100 * mean.half_width:.2f}'


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
