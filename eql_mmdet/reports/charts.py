"""Charts of the page: matplotlib's, as SVG that takes the page's colours."""
import io
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

Row = Dict[str, Any]
#: Of rare, common and frequent categories; legible on white and on black.
COLOURS = dict(r='#e4572e', c='#3d8fd1', f='#8a94a0')
#: Takes the place of the page's text colour until the SVG is written.
INK = '#010203'
#: hotcoco's names -> ours, in the order of the chart.
ERRORS = dict(
    Loc='localisation',
    Cls='classification',
    Both='both of these',
    Dupe='duplicate',
    Bkg='background',
    Miss='missed')
#: Widest chart in inches, about a narrow screen: text keeps its size there.
SIZE = (4.6, 3.2)
_POINTS = re.compile(r'(<g id="points-(\w)">)(.*?)(\n   </g>)', re.DOTALL)


def _chart(**labels) -> Tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout='constrained')
    axes = figure.add_subplot()
    axes.set(**labels)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
        axis.label.set_size(9)
    return figure, axes


def _svg(figure: Figure) -> str:
    """Write a figure as an element of a page, the same each time."""
    file = io.StringIO()
    options = {'svg.fonttype': 'none', 'svg.hashsalt': 'eql_mmdet'}
    with matplotlib.rc_context(options):
        figure.savefig(
            file, format='svg', transparent=True, metadata=dict(Date=None))
    text = file.getvalue()
    text = text[text.index('<svg'):].replace(INK, 'currentColor')
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg xmlns="http://www.w3.org/2000/svg" class="chart" \1>',
        text,
        count=1)


def scatter(rows: Sequence[Row], key: str, ylabel: str, **axes_options) -> str:
    """Draw a value of every category against its training images.

    Args:
        rows: Categories with ``frequency`` and ``image_count``.
        key: Of the value. Where it or the images are unknown or not
            positive on a logarithmic axis, there is no point.
        ylabel: What the value is, and its unit.
        **axes_options: Of ``Axes.set``.

    Returns:
        An SVG element whose points have the position of their category in
        ``data-k``; empty if there is no point.
    """
    known = [
        k for k, row in enumerate(rows)
        if row['image_count'] and _drawable(row[key], axes_options)
    ]
    if not known:
        return ''
    figure, axes = _chart(
        xscale='log', xlabel='training images of the category', ylabel=ylabel)
    axes.axhline(
        1 if axes_options.get('yscale') == 'log' else 0,
        color=INK,
        lw=0.5,
        alpha=0.5)
    members = {}
    for letter, name in (('f', 'frequent'), ('c', 'common'), ('r', 'rare')):
        members[letter] = [k for k in known if rows[k]['frequency'] == letter]
        if members[letter]:
            axes.scatter([rows[k]['image_count'] for k in members[letter]],
                         [rows[k][key] for k in members[letter]],
                         s=18,
                         alpha=0.65,
                         color=COLOURS[letter],
                         lw=0,
                         label=name,
                         gid=f'points-{letter}')
    axes.set(**axes_options)
    _plain_numbers(axes)
    axes.grid(alpha=0.15, color=INK)
    axes.legend(
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        ncols=3,
        loc='lower center',
        bbox_to_anchor=(0.5, 1))
    return _number_points(_svg(figure), members)


def _plain_numbers(axes: Axes) -> None:
    """Write 100, not 10 to the power of 2."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == 'log':
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
            axis.set_tick_params(which='both', colors=INK, labelsize=9)


def _drawable(value: Optional[float], axes_options: dict) -> bool:
    return value is not None and (axes_options.get('yscale') != 'log'
                                  or value > 0)


def _number_points(svg: str, members: Dict[str, List[int]]) -> str:

    def number(match: re.Match) -> str:
        """Give each point of one group its category."""
        head, letter, points, tail = match.groups()
        parts = points.split('<use ')
        if len(parts) - 1 != len(members[letter]):
            raise RuntimeError(
                f'expected {len(members[letter])} points in the SVG of '
                f'matplotlib {matplotlib.__version__}, but found '
                f'{len(parts) - 1}')
        marked = [
            f'<use data-k="{k}" {part}'
            for k, part in zip(members[letter], parts[1:])
        ]
        return head + parts[0] + ''.join(marked) + tail

    return _POINTS.sub(number, svg)


def error_bars(errors: Dict[str, Any]) -> str:
    """Draw how much AP50 each kind of error costs.

    Args:
        errors: hotcoco's ``tide_errors``.

    Returns:
        An SVG element.
    """
    names = list(ERRORS)[::-1]
    values = [100 * errors['delta_ap'][name] for name in names]
    figure, axes = _chart(xlabel='AP50 won if these were mended, points')
    bars = axes.barh([ERRORS[name] for name in names],
                     values,
                     color=COLOURS['c'],
                     height=0.65)
    axes.bar_label(bars, fmt='%.1f', padding=3, color=INK, fontsize=9)
    axes.set_xlim(0, max(1, *values) * 1.15)
    return _svg(figure)


def reliability(calibration: Dict[str, Any]) -> str:
    """Draw how often detections of a score are right.

    Args:
        calibration: hotcoco's.

    Returns:
        An SVG element.
    """
    bins = [item for item in calibration['bins'] if item['count']]
    figure, axes = _chart(
        xlabel='score',
        ylabel='share of right detections',
        xlim=(0, 1),
        ylim=(0, 1))
    axes.plot([0, 1], [0, 1], '--', color=INK, lw=1, alpha=0.6)
    axes.bar([(b['bin_lower'] + b['bin_upper']) / 2 for b in bins],
             [b['avg_accuracy'] for b in bins],
             width=[0.92 * (b['bin_upper'] - b['bin_lower']) for b in bins],
             color=COLOURS['c'])
    return _svg(figure)
