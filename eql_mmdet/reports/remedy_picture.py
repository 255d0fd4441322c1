"""A picture of remedies: AP with intervals, by both protocols."""
import os
from typing import List, Sequence, Union

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..host.files import whole_file
from .remedies import Outcome, Remedy, best_first, by_remedy, mean_of

__all__ = ['draw_remedies']

PANELS = ('AP', 'APr')
COLOURS = ('#e4572e', '#1f6f8b')
PathLike = Union[str, os.PathLike]


def draw_remedies(outcomes: Sequence[Outcome], protocols: Sequence[str],
                  detections: int, path: PathLike) -> None:
    """Draw AP and APr of every remedy, the best of the first protocol on top.

    Args:
        outcomes: Of trainings of one length.
        protocols: One or two names of ``Outcome.values``.
        detections: Of an image.
        path: PNG file to write.

    Raises:
        ValueError: If there is no outcome.
    """
    if not outcomes:
        raise ValueError('expected outcomes to draw, but got none')
    remedies = best_first(outcomes, protocols[0], detections)[::-1]
    figure = Figure(
        figsize=(8, 1.4 + 0.24 * len(remedies)), dpi=150, layout='constrained')
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, item in zip(panels, PANELS):
        for colour, protocol in zip(COLOURS, protocols):
            _draw_means(axes, outcomes, remedies, (protocol, detections), item,
                        colour)
        axes.set_xlabel(f'box {item}, %')
        axes.grid(axis='x', alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_yticks(range(len(remedies)), map(_name, remedies))
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        frameon=False,
        loc='outside upper center',
        ncols=len(protocols))
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')


def _draw_means(axes: Axes, outcomes: Sequence[Outcome],
                remedies: List[Remedy], key: tuple, item: str,
                colour: str) -> None:
    found = by_remedy(outcomes)
    means = [
        mean_of([100 * o.values[key][item] for o in found[remedy]])
        for remedy in remedies
    ]
    axes.errorbar([m.value for m in means],
                  range(len(means)),
                  xerr=[m.half_width for m in means],
                  fmt='o',
                  markersize=4,
                  capsize=2,
                  color=colour,
                  label=key[0])


def _name(remedy: Remedy) -> str:
    """Leave out what is not done."""
    done = [
        part for part in remedy[:3]
        if part not in ('plain', 'none') or part == remedy.loss
    ]
    return ' + '.join(done)
