"""The tail of a training set, chosen in exactly one of three ways."""
from typing import Mapping, NamedTuple, Optional

from torch import Tensor

from ..annotations.category_counts import CategoryCounts
from .frequency import (category_frequency, exponential_decay, gompertz_decay,
                        tail_mask, tail_ratio, threshold_for_tail_ratio,
                        without_images)

#: Most categories that a summary names.
NAMED = 10
#: Decays by name, with the parameters that each of them needs.
DECAYS = dict(
    exponential=(exponential_decay, ('a', 'n')),
    gompertz=(gompertz_decay, ('a', 'b', 'c')))


class Tail(NamedTuple):
    """Which categories of a training set are protected, and how much.

    Attributes:
        mask: (K,) float32 in [0, 1], T(f_j).
        threshold: Frequency threshold (lambda); None with a decay.
        summary: The same in words, for the log.
    """
    mask: Tensor
    threshold: Optional[float]
    summary: str


def check_choice(frequency_threshold: Optional[float],
                 target_ratio: Optional[float],
                 decay: Optional[Mapping]) -> dict:
    """Refuse none or several ways of choosing the tail.

    Args:
        frequency_threshold: As for :func:`choose_tail`, like the others.
        target_ratio: The same.
        decay: The same.

    Returns:
        The three as keyword arguments of :func:`choose_tail`.

    Raises:
        ValueError: If not exactly one is given.
    """
    given = dict(
        frequency_threshold=frequency_threshold,
        tail_ratio=target_ratio,
        decay=decay)
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(
            'expected exactly one of frequency_threshold (lambda), '
            f'tail_ratio and decay, but got {given}; an inherited one is '
            'switched off with None')
    return dict(
        frequency_threshold=frequency_threshold,
        target_ratio=target_ratio,
        decay=decay)


def choose_tail(counts: CategoryCounts,
                frequency_threshold: Optional[float] = None,
                target_ratio: Optional[float] = None,
                decay: Optional[Mapping] = None,
                num_images: Optional[int] = None) -> Tail:
    """Choose the tail by threshold, by its size or by a decay.

    Exactly one of ``frequency_threshold``, ``target_ratio`` and ``decay`` is
    given.

    Args:
        counts: Counts of the training set.
        frequency_threshold: Lambda, in [0, 1]: T(f) is 1 below and 0 from
            there on.
        target_ratio: Largest tail ratio, in (0, 1], that such a threshold
            may have.
        decay: ``dict(type='exponential', a=..., n=...)`` or
            ``dict(type='gompertz', a=..., b=..., c=...)``.
        num_images: Denominator of the frequencies; see
            :func:`category_frequency`.

    Returns:
        The tail.

    Raises:
        ValueError: If none or several are given, a parameter of the decay is
            missing, unknown or out of range, or no category has an image.
    """
    check_choice(frequency_threshold, target_ratio, decay)
    frequency = category_frequency(counts, num_images)
    threshold = frequency_threshold
    if decay is not None:
        mask = _decayed(frequency, decay)
        head = f'weighs {mask.numel()} categories of {counts.source}'
        how = ', '.join(f'{k}={v}' for k, v in decay.items())
    else:
        if threshold is None:
            threshold = threshold_for_tail_ratio(frequency, counts.image_count,
                                                 target_ratio)
        mask = tail_mask(frequency, threshold)
        head = (f'protects {int(mask.sum())} of {mask.numel()} categories of '
                f'{counts.source}')
        how = f'frequency < {threshold:.6g}'
    ratio = 100 * tail_ratio(counts.image_count, mask)
    summary = f'{head} ({how}), tail ratio {ratio:.2f} %'
    empty = without_images(counts)
    if empty:
        more = ', ...' if len(empty) > NAMED else ''
        summary += (f'; {len(empty)} categories have no training image: '
                    f'{", ".join(empty[:NAMED])}{more}')
    return Tail(mask, threshold, summary)


def _decayed(frequency: Tensor, decay: Mapping) -> Tensor:
    kinds = {name: keys for name, (_, keys) in DECAYS.items()}
    name = decay.get('type') if isinstance(decay, Mapping) else None
    if name not in kinds or set(decay) != {'type', *kinds[name]}:
        raise ValueError(
            'expected decay to be a dict with "type" and, for each type, '
            f'the parameters {kinds}, but got {decay!r}')
    parameters = {key: decay[key] for key in kinds[name]}
    return DECAYS[name][0](frequency, **parameters)
