"""Compare trainings by how many training images a category has."""
import os
from typing import List, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.per_category import GROUP_NAMES
from ..host.files import whole_file
from .pressure import Pressure

__all__ = ['Categories', 'draw_ap_by_count', 'draw_pressure', 'pressure_table']

#: First image count of every bin; the last one is open.
BINS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PathLike = Union[str, os.PathLike]


class Categories(NamedTuple):
    """The categories of a training set, in label order.

    Attributes:
        image_count: (K,) training images with each category.
        group: K letters, ``'r'``, ``'c'`` or ``'f'``.
    """

    image_count: np.ndarray
    group: Sequence[str]


def draw_ap_by_count(categories: Categories, aps: Mapping[str, np.ndarray],
                     path: PathLike) -> None:
    """Draw the mean AP of categories of similar image count.

    Args:
        categories: What the columns of ``aps`` are.
        aps: Name of a method -> (S, K) AP by seed, fractions; NaN where a
            category has no ground truth.
        path: PNG file to write.

    Raises:
        ValueError: If a shape is wrong.
    """
    figure = Figure(figsize=(8, 4.5), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    for name, values in aps.items():
        _draw_bins(axes, categories.image_count, 100 * values, name)
    _finish(axes, 'mask AP, %, mean of the categories of a bin')
    axes.legend(frameon=False)
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')


def draw_pressure(categories: Categories,
                  pressures: Mapping[str, Sequence[Pressure]],
                  scores: Mapping[str,
                                  Sequence[Pressure]], path: PathLike) -> None:
    """Draw what lowers and what raises the scores, against image counts.

    Args:
        categories: The categories.
        pressures: Name of a method -> a ``Pressure`` a seed, for all of the
            training.
        scores: The same for the end of the training, for the scores on own
            RoIs.
        path: PNG file to write.

    Raises:
        ValueError: If a shape is wrong.
    """
    figure = Figure(figsize=(13, 4.2), dpi=130, layout='constrained')
    panels = figure.subplots(1, 3)
    for name, runs in pressures.items():
        down = np.array([p.down_foreground for p in runs])
        up = np.array([p.up for p in runs])
        background = np.array([p.down_background for p in runs])
        count = categories.image_count
        _draw_bins(panels[0], count, _ratio(down, up), name)
        _draw_bins(panels[1], count, _ratio(background, up), name)
        _draw_bins(panels[2], count, _own_scores(scores[name]), name)
    _finish(panels[0], 'gradient down, from other categories / gradient up')
    _finish(panels[1], 'gradient down, from background / gradient up')
    _finish(panels[2], 'mean score on own RoIs, end of training')
    for axes in panels[:2]:
        axes.axhline(1, color='black', linewidth=0.8)
        axes.set_yscale('symlog', linthresh=0.1)
        axes.set_ylim(bottom=-0.02)
    panels[2].set_yscale('log')
    panels[2].legend(frameon=False)
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')


def pressure_table(categories: Categories,
                   pressures: Mapping[str, Sequence[Pressure]],
                   scores: Mapping[str, Sequence[Pressure]]) -> str:
    """Tabulate the pressure on rare, common and frequent categories.

    Args:
        categories: The categories.
        pressures: As for :func:`draw_pressure`.
        scores: As for :func:`draw_pressure`.

    Returns:
        A Markdown table: for every method and group the sums of gradient,
        means of the seeds, and the mean score of own RoIs.
    """
    lines = [
        '| method | group | up | down, other categories | down, background | '
        'down / up | score on own RoIs |', '|---|---|---:|---:|---:|---:|---:|'
    ]
    group = np.array(list(categories.group))
    for name, runs in pressures.items():
        for letter, word in GROUP_NAMES.items():
            if letter not in group:
                continue
            up, foreground, background = (
                np.mean(
                    [getattr(p, field)[group == letter].sum() for p in runs])
                for field in ('up', 'down_foreground', 'down_background'))
            own = [
                p.own_score[group == letter].sum() /
                max(1, p.own_rois[group == letter].sum()) for p in scores[name]
            ]
            lines.append(f'| {name} | {word} | {up:.2f} | {foreground:.2f} | '
                         f'{background:.2f} | '
                         f'{_ratio(foreground + background, up):.2f} | '
                         f'{np.mean(own):.4f} |')
    return '\n'.join(lines) + '\n'


def _own_scores(runs: Sequence[Pressure]) -> np.ndarray:
    """(S, K) mean scores."""
    return _ratio(
        np.array([p.own_score for p in runs]),
        np.array([p.own_rois for p in runs]))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN for categories that did not occur."""
    seen = np.greater(below, 0)
    return np.where(seen, above / np.where(seen, below, 1), np.nan)


def _bin_means(image_count: np.ndarray,
               values: np.ndarray) -> List[Tuple[float, np.ndarray]]:
    """Give the place of every bin that occurs and (S,) means of it."""
    if values.ndim != 2 or values.shape[1:] != np.shape(image_count):
        raise ValueError(f'expected values (S, K) for image counts (K,), got '
                         f'{values.shape} and {np.shape(image_count)}')
    number = np.digitize(image_count, BINS)
    means = []
    for index in np.unique(number):
        inside = values[:, number == index]
        seen = ~np.isnan(inside).all(axis=0)
        if seen.any():
            place = np.exp(np.log(image_count[number == index][seen]).mean())
            means.append((place, np.nanmean(inside[:, seen], axis=1)))
    return means


def _draw_bins(axes: Axes, image_count: np.ndarray, values: np.ndarray,
               name: str) -> None:
    """Draw the mean over seeds, and from the least to the greatest seed."""
    places, means = zip(*_bin_means(image_count, values))
    means = np.array(means)
    line, = axes.plot(places, means.mean(axis=1), marker='o', label=name)
    axes.fill_between(
        places,
        means.min(axis=1),
        means.max(axis=1),
        color=line.get_color(),
        alpha=0.15,
        linewidth=0)


def _finish(axes: Axes, label: str) -> None:
    axes.set(
        xscale='log', xlabel='training images of a category', ylabel=label)
    axes.spines[['top', 'right']].set_visible(False)
