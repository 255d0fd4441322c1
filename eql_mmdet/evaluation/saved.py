"""Saved predictions, read without running code that may be in them."""
import io
import json
from collections import defaultdict
from typing import Any, List

import numpy as np
import pycocotools.mask as mask_utils
import torch

from ..annotations.lvis_index import LVISIndex
from ..heads.rle import encode_rows, rle_dicts
from ..host.safe_pickle import SafeUnpickler
from .predictions import RawResult, read_sample

_SHAPES = {'bbox', 'segmentation'}


class _Unpickler(SafeUnpickler):
    """An unpickler that knows what ``tools/test.py --out`` writes."""

    ALLOWED = {
        **SafeUnpickler.ALLOWED,
        'builtins':
        ('bytearray', 'complex', 'range', 'set', 'frozenset', 'slice'),
        'torch':
        ('Size', 'device', 'float16', 'float32', 'float64', 'bfloat16', 'int8',
         'int16', 'int32', 'int64', 'uint8', 'bool'),
        'torch._utils': ('_rebuild_tensor_v2', ),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up; refuse what predictions do not hold."""
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            # The original loads a second pickle, unsafely.
            return _load_storage
        return super().find_class(module, name)


def _load_storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)


def load_pickle(path: str) -> List[dict]:
    """Read the file of ``tools/test.py --out``.

    Args:
        path: A pickled list of data samples as dicts.

    Returns:
        The data samples.

    Raises:
        ValueError: If the file is not whole, or holds anything but tensors,
            arrays and builtins, which could run code when loaded.
    """
    with open(path, 'rb') as file:
        try:
            samples = _Unpickler(file).load()
        except Exception as error:  # A damaged pickle can raise anything.
            raise ValueError(
                f'"{path}" is damaged or not the file of "tools/test.py '
                f'--out": {error or type(error).__name__}; write it '
                f'again') from error
    if not isinstance(samples, list) or not all(
            isinstance(item, dict) and 'img_id' in item for item in samples):
        raise ValueError(f'expected a list of data samples with "img_id", '
                         f'but "{path}" holds {samples!r:.80}')
    return samples


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
        except ValueError as error:
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
                f'detection {number} of "{path}" must have "image_id", '
                f'"category_id", "score" and, like all others, "bbox" (x, y, '
                f'width, height) or "segmentation", but is {item!r:.200}')
    return items


def _is_detection(item: Any) -> bool:
    if not isinstance(item, dict) or not set(item) & _SHAPES:
        return False
    box = item.get('bbox', [0] * 4)
    return {'image_id', 'category_id', 'score'} <= set(item) and isinstance(
        box, list) and len(box) == 4


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
        return [read_sample(sample, index) for sample in load_pickle(path)]
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
    categories = np.array([item['category_id'] for item in items])
    unknown = set(categories.tolist()) - set(index.category_ids.tolist())
    if unknown:
        raise ValueError(f'category {min(unknown)} of image {image_id} is '
                         f'not in "{index.path}"; use the ann_file of the '
                         f'data set')
    scores = np.array([item['score'] for item in items], dtype=np.float64)
    masks = None
    if 'segmentation' in items[0]:
        masks = [item['segmentation'] for item in items]
    if 'bbox' in items[0]:
        boxes = [item['bbox'] for item in items]
    else:
        boxes = _boxes_around(masks, image_id, index)
    return RawResult(image_id, categories,
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
