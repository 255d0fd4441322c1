"""Predictions of one image, as models give them, and what must hold."""
from typing import Any, NamedTuple

import numpy as np
import torch

from ..annotations.lvis_index import LVISIndex


class RawResult(NamedTuple):
    """The n detections of one image as a model or a file gives them.

    Attributes:
        image_id: As in the annotation file.
        category_ids: (n,) as in the annotation file.
        boxes: (n, 4) x, y, width, height in pixels.
        scores: (n,) of the boxes.
        mask_scores: (n,) of the masks.
        masks: n masks (tensor, array or RLE dicts) or None.
    """
    image_id: int
    category_ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    mask_scores: np.ndarray
    masks: Any


def read_sample(sample: dict, index: LVISIndex) -> RawResult:
    """Take the predictions out of a data sample of the host.

    Args:
        sample: A data sample as a dict.
        index: The annotation file.

    Returns:
        The detections, not yet checked by ``check_result``.

    Raises:
        ValueError: If they cannot belong to the annotation file.
    """
    image_id = int(sample['img_id'])
    pred = sample.get('pred_instances')
    if pred is None:
        raise ValueError(f'expected "pred_instances" for image {image_id}, '
                         f'but got {sorted(sample)}; test with a detector')
    boxes = _to_numpy(pred['bboxes'])
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'boxes of image {image_id} must have shape (n, 4), '
                         f'but have {boxes.shape}')
    _check_size(sample.get('ori_shape'), image_id, index)
    scores = _to_numpy(pred['scores'])
    return RawResult(
        image_id, _category_ids(pred['labels'], image_id, index),
        np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), scores,
        _to_numpy(pred['mask_scores']) if 'mask_scores' in pred else scores,
        pred['masks'] if 'masks' in pred else None)


def check_result(raw: RawResult, index: LVISIndex) -> None:
    """Refuse detections that would make an evaluation silently wrong.

    Args:
        raw: The detections of one image.
        index: The annotation file.

    Raises:
        ValueError: If the image is unknown, the numbers of boxes, scores,
            categories and masks differ, or a value is not finite.
    """
    name = f'image {raw.image_id}'
    if raw.image_id not in index.sizes:
        raise ValueError(f'{name} of the predictions is not in '
                         f'"{index.path}"; use the ann_file of the data set')
    counts = {
        field: len(value)
        for field, value in raw._asdict().items()
        if field != 'image_id' and value is not None
    }
    if len(set(counts.values())) > 1:
        raise ValueError(f'{name} must have one score, label and mask for '
                         f'each box, but has {counts}')
    for field in ('boxes', 'scores', 'mask_scores'):
        if not np.isfinite(getattr(raw, field)).all():
            raise ValueError(
                f'{field} of {name} must be finite, but hold NaN or '
                f'infinity; look for the step where the model diverged')
    reversed_boxes = (raw.boxes[:, 2:] < 0).any(axis=1)
    if reversed_boxes.any():
        raise ValueError(f'boxes of {name} must have x2 >= x1 and y2 >= y1, '
                         f'but box {np.argmax(reversed_boxes)} has (width, '
                         f'height) {raw.boxes[reversed_boxes][0, 2:]}')


def _category_ids(labels: Any, image_id: int, index: LVISIndex) -> np.ndarray:
    labels = _to_numpy(labels).astype(np.int64)
    classes = len(index.category_ids)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f'labels of image {image_id} must be in 0..{classes - 1}, the '
            f'{classes} categories of "{index.path}", but are in '
            f'{labels.min()}..{labels.max()}; check num_classes and ann_file')
    return index.category_ids[labels]


def _check_size(shape: Any, image_id: int, index: LVISIndex) -> None:
    size = index.sizes.get(image_id)
    if size and shape is not None and tuple(shape[:2]) != size:
        raise ValueError(f'image {image_id} is {tuple(shape[:2])} (height, '
                         f'width), but {size} in "{index.path}"; use the '
                         f'ann_file of the data set')


def _to_numpy(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()
