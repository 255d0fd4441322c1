"""Predictions as models and files give them, image by image."""
import json
from collections import defaultdict
from typing import Any, List, NamedTuple

import numpy as np
import pycocotools.mask as mask_utils
import torch

from ..annotations.lvis_index import LVISIndex
from ..heads.rle import encode_rows, rle_dicts
from ..host.safe_pickle import load_samples

_SHAPES = {'bbox', 'segmentation'}
#: Whole numbers above it are no pixels, and some are no floats.
_LARGEST = 10**18


class RawResult(NamedTuple):
    """The n detections of one image as a model or a file gives them.

    Attributes:
        image_id: As in the annotation file.
        labels: (n,) int64, numbers of the classes of the index.
        boxes: (n, 4) x, y, width, height in pixels.
        scores: (n,) of the boxes.
        mask_scores: (n,) of the masks.
        masks: n masks (tensor, array or RLE dicts) or None.
    """
    image_id: int
    labels: np.ndarray
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
        image_id, _labels(pred['labels'], image_id, index),
        np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), scores,
        _to_numpy(pred['mask_scores']) if 'mask_scores' in pred else scores,
        pred['masks'] if 'masks' in pred else None)


def _labels(labels: Any, image_id: int, index: LVISIndex) -> np.ndarray:
    labels = _to_numpy(labels).astype(np.int64)
    classes = len(index.rows)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f'labels of image {image_id} must be in 0..{classes - 1}, the '
            f'{classes} categories of "{index.path}", but are in '
            f'{labels.min()}..{labels.max()}; check num_classes and ann_file')
    return labels


def _check_size(shape: Any, image_id: int, index: LVISIndex) -> None:
    size = index.sizes.get(image_id)
    if size and shape is not None and tuple(shape[:2]) != size:
        raise ValueError(f'image {image_id} is {tuple(shape[:2])} (height, '
                         f'width), but {size} in "{index.path}"; use the '
                         f'ann_file of the data set')


def _to_numpy(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()


def load_json(path: str) -> List[dict]:
    """Read detections in the COCO result format.

    Args:
        path: A json list of dicts with ``image_id``, ``category_id``,
            ``score`` and ``bbox`` (x, y, width, height), ``segmentation``
            (RLE) or both.

    Returns:
        The detections.

    Raises:
        ValueError: If the file is not whole or something else.
    """
    with open(path) as file:
        try:
            items = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'"{path}" is not a whole json file ({error}); '
                             f'write it again') from error
    if not isinstance(items, list):
        raise ValueError(f'expected a list of detections, but "{path}" holds '
                         f'{items!r:.80}')
    first = items[0] if items else {}
    for number, item in enumerate(items):
        if not _is_detection(item) or set(first) & _SHAPES != (set(item)
                                                               & _SHAPES):
            raise ValueError(
                f'detection {number} of "{path}" must have the numbers '
                f'"image_id", "category_id", "score" and, like all others, '
                f'"bbox" (x, y, width, height) or "segmentation", but is '
                f'{item!r:.200}')
    return items


def _is_detection(item: Any) -> bool:
    if not isinstance(item, dict) or not set(item) & _SHAPES:
        return False
    box = item.get('bbox', [0] * 4)
    ids = [item.get('image_id'), item.get('category_id')]
    if not all(type(number) in (int, float) for number in ids):
        return False
    return isinstance(box, list) and len(box) == 4 and all(
        type(number) is float or
        (type(number) is int and abs(number) <= _LARGEST)
        for number in (item.get('score'), *box))


def read_predictions(path: str, index: LVISIndex) -> List[RawResult]:
    """Read saved predictions of either format, image by image.

    Args:
        path: ``.pkl`` or ``.pickle`` of ``tools/test.py --out``, or
            ``.json`` in the COCO result format.
        index: The annotation file.

    Returns:
        The detections of each image; of masks without boxes the boxes are
        those around the masks, as in lvis.

    Raises:
        ValueError: If the file is neither, not whole, or does not fit the
            annotation file.
    """
    if path.endswith(('.pkl', '.pickle')):
        return [read_sample(sample, index) for sample in load_samples(path)]
    if path.endswith('.json'):
        images = defaultdict(list)
        for item in load_json(path):
            images[item['image_id']].append(item)
        return [
            _from_items(image_id, items, index)
            for image_id, items in images.items()
        ]
    raise ValueError(f'expected predictions in a .pkl, .pickle or .json '
                     f'file, but got "{path}"')


def _from_items(image_id: int, items: List[dict],
                index: LVISIndex) -> RawResult:
    categories = [item['category_id'] for item in items]
    unknown = set(categories) - set(index.label_of)
    if unknown:
        raise ValueError(f'category {min(unknown)} of image {image_id} is '
                         f'not in "{index.path}"; use the ann_file of the '
                         f'data set')
    labels = np.array([index.label_of[i] for i in categories], np.int64)
    scores = np.array([item['score'] for item in items], dtype=np.float64)
    masks = None
    if 'segmentation' in items[0]:
        masks = [item['segmentation'] for item in items]
    if 'bbox' in items[0]:
        boxes = [item['bbox'] for item in items]
    else:
        boxes = _boxes_around(masks, image_id, index)
    return RawResult(image_id, labels,
                     np.array(boxes, dtype=np.float64).reshape(-1, 4), scores,
                     scores, masks)


def _boxes_around(masks: List[dict], image_id: int,
                  index: LVISIndex) -> np.ndarray:
    size = index.sizes.get(image_id)
    if size is None:  # check_result refuses the image
        return np.zeros((len(masks), 4))
    counts = encode_rows(masks, np.arange(len(masks)), size, image_id)
    sizes = np.tile(size, (len(masks), 1))
    return mask_utils.toBbox(rle_dicts(counts, sizes))
