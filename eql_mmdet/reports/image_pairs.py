"""The images of the page: ground truth and predictions of a few."""
import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pycocotools.mask as mask_utils
from PIL import Image, ImageOps

from ..annotations.lvis_index import LVISIndex
from ..annotations.masks import to_rle
from ..evaluation.predictions import RawResult
from ..heads.rle import encode_rows, rle_dicts
from .pictures import Panel

Row = Dict[str, Any]
#: Behind the name of a prediction that counts neither as right nor as wrong.
UNCHECKED = ' ?'
#: More predictions would hide the image.
MOST_SHOWN = 40


class Chosen(NamedTuple):
    """Images to be shown, by their F1 score.

    Attributes:
        worst: Rows of images, the worst first.
        best: The same, the best first; none of ``worst``.
    """
    worst: List[Row]
    best: List[Row]


def choose_images(rows: Sequence[Row], number: int) -> Chosen:
    """Choose the worst and best images.

    Args:
        rows: ``image_id``, ``f1``, ``tp``, ``fp`` and ``fn`` of images.
        number: How many of each, at most.

    Returns:
        Of equal F1 scores the images with more errors are worse, and those
        with more objects found are better.
    """
    worst = sorted(
        rows, key=lambda r: (r['f1'], -r['fp'] - r['fn'], r['image_id']))
    best = sorted(rows, key=lambda r: (-r['f1'], -r['tp'], r['image_id']))
    number = min(number, -(-len(rows) // 2))
    worst = worst[:number]
    taken = {row['image_id'] for row in worst}
    best = [row for row in best if row['image_id'] not in taken]
    return Chosen(worst, best[:number])


def find_image(folder: str, file_name: Optional[str]) -> Optional[str]:
    """Find the file of an image.

    Args:
        folder: Of the images.
        file_name: As in the annotation file; LVIS v0.5 puts
            ``COCO_val2014_`` before the names of today.

    Returns:
        The path; None if there is no such file.
    """
    if not file_name:
        return None
    paths = [
        osp.join(folder, name)
        for name in (file_name, file_name.rsplit('_', 1)[-1])
    ]
    return next(filter(osp.isfile, paths), None)


def make_panel(path: str, raw: Optional[RawResult], index: LVISIndex,
               image_id: int, score_thr: float) -> Panel:
    """Lay the predictions of an image beside its ground truth.

    Args:
        path: The image.
        raw: Its predictions, if any.
        index: The annotation file.
        image_id: Of the image.
        score_thr: Predictions below it are left out, and all beyond the
            best ``MOST_SHOWN``.

    Returns:
        The panel; where there are no masks, it has boxes as masks.

    Raises:
        ValueError: If the image has another size than the file says.
    """
    size = index.sizes[image_id]
    with Image.open(path) as picture:
        image = np.array(ImageOps.exif_transpose(picture).convert('RGB'))
    if image.shape[:2] != size:
        raise ValueError(
            f'expected "{path}" to have the size (height, width) {size} of '
            f'"{index.path}", but it has {image.shape[:2]}; give the folder '
            f'of these images with --images')
    truth, names = _truth(index, image_id, size)
    if raw is None:
        return Panel(image, truth, names, truth[:0], [], [])
    scores = raw.scores if raw.masks is None else raw.mask_scores
    rows = np.argsort(-scores, kind='stable')[:MOST_SHOWN]
    rows = rows[scores[rows] >= score_thr]
    checked = set(index.checked[image_id].tolist())
    return Panel(image, truth, names, _found_masks(raw, rows, size), [
        index.names[label] + ('' if label in checked else UNCHECKED)
        for label in raw.labels[rows].tolist()
    ], scores[rows])


def _truth(index: LVISIndex, image_id: int,
           size: Tuple[int, int]) -> Tuple[np.ndarray, List[str]]:
    annotations = index.annotations
    position = [image.id for image in annotations.images].index(image_id)
    mine = annotations.objects_of(position)
    mine = mine[index.objects[mine]]
    missing = annotations.mask_faults
    rles = [
        to_rle(annotations.load_mask(i), size)
        if annotations.mask_kinds[i] and i not in missing else None
        for i in mine.tolist()
    ]
    masks = [
        _box_mask(annotations.boxes[i], size)
        if rle is None else mask_utils.decode(rle).astype(bool)
        for i, rle in zip(mine, rles)
    ]
    names = [
        annotations.categories[k].name
        for k in annotations.category[mine].tolist()
    ]
    return np.array(masks, bool).reshape(-1, *size), names


def _found_masks(raw: RawResult, rows: np.ndarray,
                 size: Tuple[int, int]) -> np.ndarray:
    if raw.masks is None:
        masks = [_box_mask(box, size) for box in raw.boxes[rows]]
    else:
        counts = encode_rows(raw.masks, rows, size, raw.image_id)
        rles = rle_dicts(counts, np.tile(size, (len(rows), 1)))
        masks = [mask_utils.decode(rle) for rle in rles]
    return np.array(masks, bool).reshape(-1, *size)


def _box_mask(box: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Fill a box (x, y, width, height), a pixel at least."""
    height, width = size
    left, top = np.floor(box[:2]).clip(0, [width - 1, height - 1]).astype(int)
    right, bottom = np.ceil(box[:2] + box[2:]).astype(int)
    mask = np.zeros(size, bool)
    mask[top:max(bottom, top + 1), left:max(right, left + 1)] = True
    return mask
