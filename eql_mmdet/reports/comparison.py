"""What changed between two runs, by group and by category."""
import importlib
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

import numpy as np
from matplotlib.figure import Figure
from terminaltables import AsciiTable

from ..annotations.category_counts import GROUPS
from ..annotations.lvis_index import LVISIndex
from ..evaluation.curves import Curves
from ..evaluation.detections import gather
from ..evaluation.engines import HotcocoEngine
from ..evaluation.ground_truth import ground_truth
from ..evaluation.per_category import GROUP_NAMES, category_rows
from ..evaluation.results import BBOX, SEGM, ImageResult
from ..host.files import whole_file
from .bootstrap import average_precision, collect_matches, draw_weights

Row = Dict[str, Any]
_KNOWN = ('id', 'name', 'frequency', 'image_count', 'ground_truths')


class Comparison(NamedTuple):
    """Run B minus run A.

    Attributes:
        groups: Rows of all, rare, common and frequent categories.
        categories: One row a category with ground truth, by id.
    """
    groups: List[Row]
    categories: List[Row]


def compare_results(
        runs: Tuple[List[ImageResult], List[ImageResult]],
        index: LVISIndex,
        iou_type: str,
        samples: int = 200,
        seed: int = 0,
        confidence: float = 0.95,
        progress: Callable[[Iterable], Iterable] = iter) -> Comparison:
    """Compare two runs on the same images.

    Rows hold ``AP_a``, ``AP_b``, ``difference`` and the limits ``low`` and
    ``high`` of its bootstrap interval over images, all fractions. Those of
    the groups come from hotcoco; those of categories are over the resampled
    data sets that have the category, which hotcoco does not tell apart.

    Args:
        runs: Results of A and of B, one an image.
        index: The annotation file.
        iou_type: ``'bbox'`` or ``'segm'``.
        samples: Resampled data sets.
        seed: Of the resampling.
        confidence: Of the intervals, in (0, 1).
        progress: Wraps the list of categories to show how far it is.

    Returns:
        The rows.

    Raises:
        ValueError: If ``samples`` or ``confidence`` is out of range.
    """
    if samples < 1 or not 0 < confidence < 1:
        raise ValueError(f'expected samples >= 1 and confidence in (0, 1), '
                         f'but got {samples} and {confidence}')
    engine = HotcocoEngine(ground_truth(index, iou_type == 'segm'))
    use = SEGM if iou_type == 'segm' else BBOX
    evaluators = [
        engine.evaluator(gather(run, index, use), iou_type, all_areas=False)
        for run in runs
    ]
    groups = _groups(evaluators, samples, seed, confidence)
    weights = draw_weights(len(index.sizes), samples, seed)
    rows = _categories(evaluators, index, weights, confidence, progress)
    return Comparison(groups, rows)


def _groups(evaluators: List[Any], samples: int, seed: int,
            confidence: float) -> List[Row]:
    found = importlib.import_module('hotcoco').compare(
        *evaluators, n_bootstrap=samples, seed=seed, confidence=confidence)
    rows = []
    for key, name in (('AP', 'all'), *((f'AP{g}', GROUP_NAMES[g])
                                       for g in GROUPS)):
        interval = found['ci'][key]
        a, b = found['metrics_a'][key], found['metrics_b'][key]
        if a < 0:  # no ground truth
            continue
        rows.append(
            dict(
                name=name,
                AP_a=a,
                AP_b=b,
                difference=b - a,
                low=interval['lower'],
                high=interval['upper']))
    return rows


def _categories(evaluators: List[Any], index: LVISIndex, weights: np.ndarray,
                confidence: float, progress: Callable) -> List[Row]:
    image_ids = np.arange(len(index.sizes)) + 1
    category_ids = np.arange(len(index.rows)) + 1
    curves = {
        name: Curves(item.eval['precision'][..., 0], item.eval['recall'])
        for name, item in zip('ab', evaluators)
    }
    matches = [
        collect_matches(item, image_ids, category_ids) for item in evaluators
    ]
    tail = 50 * (1 - confidence)
    rows = []
    for row, *pair in progress(
            list(zip(category_rows(index, curves), *matches))):
        if row['a_AP'] is None:
            continue
        a, b = (average_precision(item, weights) for item in pair)
        low, high = np.nanpercentile(b - a, (tail, 100 - tail))
        known = {key: row[key] for key in _KNOWN}
        rows.append(
            dict(
                known,
                AP_a=row['a_AP'],
                AP_b=row['b_AP'],
                difference=row['b_AP'] - row['a_AP'],
                low=float(low),
                high=float(high)))
    return rows


def difference_table(rows: List[Row]) -> str:
    """Print rows in percent.

    Args:
        rows: Of a comparison.

    Returns:
        A text table.
    """
    data = [['', 'AP of A', 'AP of B', 'B - A', 'interval']]
    for row in rows:
        data.append([
            row['name'], f'{100 * row["AP_a"]:.1f}',
            f'{100 * row["AP_b"]:.1f}', f'{100 * row["difference"]:+.1f}',
            f'{100 * row["low"]:+.1f} to {100 * row["high"]:+.1f}'
        ])
    return AsciiTable(data).table


def draw_against_images(path: str, rows: List[Row], names: Tuple[str,
                                                                 str]) -> None:
    """Draw AP against training images, a point a category, a line a run.

    Args:
        path: The picture.
        rows: Of the categories of a comparison.
        names: Of run A and run B.

    Raises:
        ValueError: If no category states its training images.
    """
    rows = [row for row in rows if row['image_count']]
    if not rows:
        raise ValueError('no category of the annotation file has an '
                         '"image_count", the number of training images')
    images = np.array([row['image_count'] for row in rows])
    edges = np.geomspace(images.min(), images.max() + 1, 11)
    figure = Figure(figsize=(8, 5), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    for key, name, colour in zip(('AP_a', 'AP_b'), names,
                                 ('#7b8794', '#e4572e')):
        values = np.array([100 * row[key] for row in rows])
        axes.scatter(images, values, s=14, alpha=0.5, color=colour, lw=0)
        inside = [(low <= images) & (images < high)
                  for low, high in zip(edges, edges[1:])]
        line = [(images[m].mean(), values[m].mean()) for m in inside
                if m.any()]
        axes.plot(*zip(*line), 'o-', color=colour, label=name)
    axes.set(
        xscale='log',
        xlabel='training images of the category',
        ylabel='AP, %',
        ylim=(-2, 102))
    axes.grid(alpha=0.2)
    axes.legend(title='mean of neighbouring categories')
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')
