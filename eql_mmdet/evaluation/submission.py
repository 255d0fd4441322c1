"""Detections as the LVIS server wants them."""
import json
from typing import Iterator, List

import numpy as np

from ..annotations.lvis_index import LVISIndex
from ..heads.rle import rle_dicts
from ..host.files import whole_file
from .detections import columns_of
from .results import ImageResult


def submission(results: List[ImageResult], index: LVISIndex,
               with_masks: bool) -> Iterator[List[dict]]:
    """Write detections as the LVIS server wants them, image by image.

    Boxes are left out of mask results: with them the official evaluator
    takes the area of the box for that of the mask.

    Args:
        results: One result an image, with every detection.
        index: The annotation file.
        with_masks: Whether to write masks or boxes.

    Yields:
        The detections of one image.
    """
    for item in results:
        rows = [np.arange(len(item.uses))]
        columns = columns_of([item], index, rows, with_masks)
        shapes = dict(bbox=columns.boxes.tolist())
        if with_masks:
            rles = rle_dicts([m.decode() for m in columns.masks],
                             columns.sizes)
            shapes = dict(segmentation=rles)
        (name, values), = shapes.items()
        yield [{
            'image_id': item.image_id,
            'category_id': index.category_ids[label],
            name: value,
            'score': score
        } for label, value, score in zip(item.labels.tolist(), values,
                                         columns.scores.tolist())]


def write_submission(path: str, results: List[ImageResult], index: LVISIndex,
                     with_masks: bool) -> None:
    """Write a submission file, one image in memory at a time.

    Args:
        path: The json file.
        results: One result an image, with every detection.
        index: The annotation file.
        with_masks: Whether to write masks or boxes.
    """
    with whole_file(path) as file:
        file.write('[')
        separator = ''
        for image in submission(results, index, with_masks):
            for item in image:
                file.write(separator + json.dumps(item))
                separator = ',\n'
        file.write(']\n')
