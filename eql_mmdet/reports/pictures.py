"""Tables and pictures of a training: numbers, the tail, what was found."""
import io
import os
from dataclasses import dataclass
from typing import Mapping, Sequence, Tuple, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..host.files import whole_file

__all__ = [
    'Panel', 'draw_contact_sheet', 'draw_frequency', 'draw_pair',
    'metric_table'
]

COLUMNS = ('AP', 'AP50', 'APr', 'APc', 'APf')
ROWS = dict(bbox='box', segm='mask')
HEAD_COLOUR, TAIL_COLOUR, LINE_COLOUR = '#7b8794', '#e4572e', '#1f2933'
PAIR_INCHES = 4  # the longer side of a picture of draw_pair
FLOOR = 0.6  # images; the foot of the bars, so that a single image shows
PathLike = Union[str, os.PathLike]


@dataclass(frozen=True)
class Panel:
    """An image, what it shows and what was found in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        true_masks: (G, H, W) bool, the annotated objects.
        true_names: G category names.
        pred_masks: (D, H, W) bool, the detections.
        pred_names: D category names.
        pred_scores: (D,) scores in [0, 1].
    """

    image: np.ndarray
    true_masks: np.ndarray
    true_names: Sequence[str]
    pred_masks: np.ndarray
    pred_names: Sequence[str]
    pred_scores: np.ndarray

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: If they do not fit together.
        """
        if self.image.shape[2:] != (3, ) or self.image.dtype != np.uint8:
            raise ValueError('expected an image (H, W, 3) of uint8, got '
                             f'{self.image.shape} of {self.image.dtype}')
        self._check_objects('true', self.true_masks, [self.true_names])
        self._check_objects('pred', self.pred_masks,
                            [self.pred_names, self.pred_scores])

    def _check_objects(self, kind: str, masks: np.ndarray,
                       columns: Sequence[Sequence]) -> None:
        numbers = [len(masks), *map(len, columns)]
        if len(set(numbers)) > 1:
            raise ValueError(f'expected as many {kind} masks as names and '
                             f'scores, got {numbers}')
        shape = len(masks), *self.image.shape[:2]
        if len(masks) and (masks.shape != shape or masks.dtype != bool):
            raise ValueError(f'expected {kind} masks {shape} of bool, as the '
                             f'image, got {masks.shape} of {masks.dtype}')


def metric_table(metrics: Mapping[str, float]) -> str:
    """Write AP, AP50, APr, APc and APf of boxes and masks as Markdown.

    Args:
        metrics: Fractions under keys such as ``lvis/bbox_AP``, with any
            prefix or none before the slash. Other keys are ignored.

    Returns:
        A table in percent with a row for each of box and mask that occurs.
        NaN and -1, by which LVIS says that there is no such category, are
        shown as ``-``.

    Raises:
        ValueError: If neither box nor mask AP is there, or if a column of a
            row is missing.
    """
    values = {key.rsplit('/', 1)[-1]: value for key, value in metrics.items()}
    kinds = [kind for kind in ROWS if f'{kind}_AP' in values]
    missing = [
        f'{kind}_{column}' for kind in kinds or ROWS for column in COLUMNS
        if f'{kind}_{column}' not in values
    ]
    if missing:
        raise ValueError(f'expected the metrics {", ".join(missing)}, got '
                         f'only {", ".join(metrics) or "none"}')
    lines = [['', *COLUMNS], ['---', *['---:'] * len(COLUMNS)]]
    for kind in kinds:
        cells = (_percent(values[f'{kind}_{column}']) for column in COLUMNS)
        lines.append([ROWS[kind], *cells])
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _percent(fraction: float) -> str:
    return f'{100 * fraction:.1f}' if fraction >= 0 else '-'


def draw_frequency(image_count: np.ndarray, tail_mask: np.ndarray,
                   threshold: float, num_images: int, path: PathLike) -> None:
    """Draw how many training images every category has, and which are tail.

    Args:
        image_count: (K,) training images with each category, at least 1.
        tail_mask: (K,) 1 for protected categories, else 0.
        threshold: Frequency below which a category is protected (lambda).
        num_images: Training images, the denominator of the frequencies.
        path: PNG file to write.

    Raises:
        ValueError: If the shapes differ or a category has no image.
    """
    image_count, tail_mask = np.asarray(image_count), np.asarray(tail_mask)
    if image_count.ndim != 1 or image_count.shape != tail_mask.shape:
        raise ValueError('expected two arrays of shape (K,), got '
                         f'{image_count.shape} and {tail_mask.shape}')
    if not len(image_count) or image_count.min() < 1:
        raise ValueError('expected at least one category, each with at least '
                         f'one image, got {image_count}')
    order = np.argsort(-image_count, kind='stable')
    counts, is_tail = image_count[order], tail_mask[order] > 0
    ratio = 100 * counts[is_tail].sum() / counts.sum()
    figure = Figure(figsize=(8, 4), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    axes.stairs(
        np.where(is_tail, np.nan, counts),
        baseline=FLOOR,
        fill=True,
        color=HEAD_COLOUR,
        label=f'{(~is_tail).sum():,} not protected')
    axes.stairs(
        np.where(is_tail, counts, np.nan),
        baseline=FLOOR,
        fill=True,
        color=TAIL_COLOUR,
        label=f'{is_tail.sum():,} protected, tail ratio {ratio:.1f} %')
    axes.axhline(
        threshold * num_images,
        color=LINE_COLOUR,
        linestyle='--',
        linewidth=1,
        label=f'λ × images = {threshold:.4g} × {num_images:,}')
    axes.set(
        xlabel='category, the most frequent first',
        ylabel='training images',
        yscale='log',
        xlim=(0, len(counts)),
        ylim=(FLOOR, 2 * max(counts[0], threshold * num_images)))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')


def draw_contact_sheet(panels: Sequence[Panel], path: PathLike) -> None:
    """Draw images in a grid: annotations on the left, detections beside.

    A category has the same colour everywhere. Leave out detections of low
    score, or their labels will cover the image.

    Args:
        panels: The images; two of them make a row.
        path: PNG file to write.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError('expected at least one panel, got none')
    colours = _colours_of(panels)
    columns = 2 * min(2, len(panels))
    rows = -(-2 * len(panels) // columns)
    figure = Figure(
        figsize=(3.3 * columns, 3.3 * rows + 0.3),
        dpi=130,
        layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for panel, truth, found in zip(panels, grid.flat[::2], grid.flat[1::2]):
        _draw_panel(truth, found, panel, colours)
    for column, axes in enumerate(grid[0]):
        axes.set_title(('ground truth', 'prediction')[column % 2], fontsize=10)
    with whole_file(path, 'wb') as file:
        figure.savefig(file, format='png')


def draw_pair(panel: Panel) -> Tuple[bytes, bytes]:
    """Draw the annotations and the detections of one image.

    Args:
        panel: The image.

    Returns:
        Two JPEG pictures of the same size: ground truth, predictions.
    """
    height, width = panel.image.shape[:2]
    scale = PAIR_INCHES / max(height, width)
    figures = [
        Figure(figsize=(width * scale, height * scale), dpi=150)
        for _ in range(2)
    ]
    truth, found = (figure.add_axes((0, 0, 1, 1)) for figure in figures)
    for axes in (truth, found):
        axes.set_axis_off()
    _draw_panel(truth, found, panel, _colours_of([panel]))
    pictures = []
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format='jpg', pil_kwargs=dict(quality=80))
        pictures.append(file.getvalue())
    return tuple(pictures)


def _colours_of(panels: Sequence[Panel]) -> Mapping[str, np.ndarray]:
    names = sorted({
        name
        for panel in panels
        for name in (*panel.true_names, *panel.pred_names)
    })
    return dict(zip(names, _distinct_colours(len(names))))


def _distinct_colours(number: int) -> np.ndarray:
    """(number, 3) RGB in [0, 1]; steps of the golden ratio never repeat."""
    hues = np.arange(number) * 0.618034 % 1
    return hsv_to_rgb(
        np.stack([hues, np.full(number, 0.9),
                  np.full(number, 0.75)], axis=-1))


def _draw_panel(truth: Axes, found: Axes, panel: Panel,
                colours: Mapping[str, np.ndarray]) -> None:
    _draw_objects(truth, panel.image, panel.true_masks, panel.true_names,
                  panel.true_names, colours)
    labels = [
        f'{name} {score:.2f}'
        for name, score in zip(panel.pred_names, panel.pred_scores)
    ]
    _draw_objects(found, panel.image, panel.pred_masks, panel.pred_names,
                  labels, colours)


def _draw_objects(axes: Axes, image: np.ndarray, masks: np.ndarray,
                  names: Sequence[str], labels: Sequence[str],
                  colours: Mapping[str, np.ndarray]) -> None:
    """Draw an image with the mask, box and label of every object."""
    canvas = image / 255.0
    for mask, name in zip(masks, names):
        canvas[mask] += 0.3 * (colours[name] - canvas[mask])
    axes.imshow(canvas)
    axes.autoscale(False)
    height, width = image.shape[:2]
    x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
    for mask, name, label in zip(masks, names, labels):
        rows, columns = np.nonzero(mask)
        if not len(rows):
            continue
        left, right = columns.min() - 0.5, columns.max() + 0.5
        top, bottom = rows.min() - 0.5, rows.max() + 0.5
        # A margin closes outlines that touch the border.
        axes.contour(
            x, y, np.pad(mask, 1), [0.5], colors=[colours[name]], linewidths=1)
        axes.add_patch(
            Rectangle((left, top),
                      right - left,
                      bottom - top,
                      fill=False,
                      linewidth=0.8,
                      edgecolor=colours[name]))
        # The label grows towards the middle, so as to stay inside.
        is_left = left + right < width
        axes.text(
            max(left, 0) if is_left else min(right, width - 1),
            top,
            label,
            color='white',
            fontsize=5.5,
            ha='left' if is_left else 'right',
            va='top' if top < 0.06 * height else 'bottom',
            bbox=dict(
                facecolor=colours[name], edgecolor='none', pad=0.6,
                alpha=0.75))
