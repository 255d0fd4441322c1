"""How evenly the boxes of each category are spread over the image."""
from typing import Optional, Sequence, Tuple

import numpy as np

from ..annotations.annotations import Annotations
from ..annotations.training import training_view

#: Cells along a side of the finest grid, as in the released code of [1].
FINEST = 64


def box_centres(
        annotations: Annotations,
        classes: Optional[Sequence[str]] = None
) -> Tuple[np.ndarray, np.ndarray]:
    """List where the boxes are that are trained.

    Args:
        annotations: The file.
        classes: Names in label order; by default all of the file.

    Returns:
        (M,) int64 labels and (M, 2) float64 x and y of the centres, as a
        share of the width and height of their image.
    """
    view = training_view(annotations, annotations.label_map(classes))
    boxes = annotations.boxes[view.is_trained]
    sizes = annotations.sizes[annotations.image[view.is_trained]]
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / sizes[:, ::-1]
    return view.labels[view.is_trained], centres


def occupied_cells(labels: np.ndarray, centres: np.ndarray, grid: int,
                   num_classes: int) -> np.ndarray:
    """Count the cells of a grid over the image in which a category occurs.

    Args:
        labels: (M,) int64 in [0, K).
        centres: (M, 2) x and y; what is outside [0, 1) counts in the
            nearest cell.
        grid: Cells along a side (G).
        num_classes: K.

    Returns:
        (K,) int64 in [0, G^2].
    """
    column, row = (centres.T * grid).astype(np.int64).clip(0, grid - 1)
    occupied = np.zeros((num_classes, grid * grid), bool)
    occupied[labels, row * grid + column] = True
    return occupied.sum(axis=1)


def fractal_dimension(labels: np.ndarray, centres: np.ndarray,
                      num_classes: int) -> np.ndarray:
    """Measure how evenly each category is spread over the image.

    The box-counting dimension D_j of [1]: the slope of the line through
    log N(G) over log G, where N(G) is the number of occupied cells of a
    G x G grid. G goes from 1 to the root of the number of boxes, since n
    boxes cannot occupy more than n cells, and at most to 64, as in the
    released code. All over the image it is 2, on a line 1.

    Args:
        labels: (M,) int64 in [0, K), the category of each box.
        centres: (M, 2) x and y of the boxes, as a share of the image.
        num_classes: K.

    Returns:
        (K,) float64, at least 1; 1 for a category with fewer than four
        boxes, to which no line can be fitted.

    [1] Alexandridis et al., CVPR 2025, https://arxiv.org/abs/2410.11774
    """
    boxes = np.bincount(labels, minlength=num_classes)
    finest = np.sqrt(boxes).astype(np.int64).clip(max=FINEST)
    n, x, y, xx, xy = np.zeros((5, num_classes))
    for grid in range(1, int(finest.max(initial=0)) + 1):
        kept = finest[labels] >= grid
        labels, centres = labels[kept], centres[kept]
        cells = occupied_cells(labels, centres, grid, num_classes)
        log_grid, log_cells = np.log(grid), np.log(cells.clip(min=1))
        is_fitted = finest >= grid
        n += is_fitted
        x += is_fitted * log_grid
        y += is_fitted * log_cells
        xx += is_fitted * log_grid**2
        xy += is_fitted * log_grid * log_cells
    slope = np.ones(num_classes)
    np.divide(n * xy - x * y, n * xx - x * x, out=slope, where=finest > 1)
    return slope.clip(min=1)
