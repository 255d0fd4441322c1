"""Small annotation files as users have them, whole and damaged."""
import copy
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

import cv2
import numpy as np

HEIGHT, WIDTH, SIDE = 80, 100, 20
#: Name, LVIS group; ids are 1, 2, 3.
CATEGORIES = (('disc', 'r'), ('bar', 'c'), ('dot', 'f'))
NAMES = tuple(name for name, _ in CATEGORIES)
#: As many pixels as a square, from the upper left corner downwards.
RLE = dict(size=[HEIGHT, WIDTH], counts=[0, SIDE**2, HEIGHT * WIDTH - SIDE**2])


def square(x: float, y: float, side: float = SIDE) -> List[List[float]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def run_lengths(x: int, y: int, side: int = SIDE) -> List[int]:
    """The same square as uncompressed RLE: columns first."""
    pixels = np.zeros((WIDTH, HEIGHT), bool)
    pixels[x:x + side, y:y + side] = True
    edges = np.flatnonzero(np.diff(np.pad(pixels.ravel(), 1))) + 0
    return np.diff([0, *edges.tolist(), HEIGHT * WIDTH]).tolist()


def lvis_file(image_ids: Sequence[int] = (1, 2)) -> Dict[str, list]:
    """LVIS format: every image has one square of each category."""
    dataset = dict(images=[], annotations=[], categories=[])
    for k, (name, group) in enumerate(CATEGORIES):
        dataset['categories'].append(
            dict(
                id=k + 1,
                name=name,
                frequency=group,
                image_count=len(image_ids)))
    for image in image_ids:
        dataset['images'].append(
            dict(
                id=image,
                file_name=f'{image}.png',
                height=HEIGHT,
                width=WIDTH,
                neg_category_ids=[],
                not_exhaustive_category_ids=[]))
        for k in range(len(CATEGORIES)):
            x, y = 5 + 30 * k, 8
            dataset['annotations'].append(
                dict(
                    id=len(dataset['annotations']) + 1,
                    image_id=image,
                    category_id=k + 1,
                    bbox=[x, y, SIDE, SIDE],
                    area=SIDE * SIDE,
                    segmentation=square(x, y)))
    return dataset


def coco_file(image_ids: Sequence[int] = range(1, 7)) -> Dict[str, list]:
    """COCO format: no groups, no negative sets."""
    dataset = lvis_file(image_ids)
    for image in dataset['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    for category in dataset['categories']:
        del category['frequency'], category['image_count']
    for item in dataset['annotations']:
        item['iscrowd'] = 0
    return dataset


def write(path: Path, dataset: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataset))
    return str(path)


def write_images(folder: Path, dataset: Dict[str, list]) -> str:
    """Write a grey picture for every image of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in dataset['images']:
        canvas = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        cv2.imwrite(str(folder / image['file_name']), canvas)
    return str(folder)


def perfect(dataset: Dict[str, list], score: float = 0.9) -> List[dict]:
    """Detections in the COCO result format: what the file says itself."""
    return [
        dict(
            image_id=item['image_id'],
            category_id=item['category_id'],
            bbox=item['bbox'],
            score=score) for item in dataset['annotations']
    ]


def changed(dataset: Dict[str, list], kind: str, place: int,
            **fields: Any) -> Dict[str, list]:
    """Copy a file with other values in one image, category or object."""
    dataset = copy.deepcopy(dataset)
    dataset[kind][place].update(fields)
    return dataset


def without(dataset: Dict[str, list], kind: str, place: int, *fields:
            str) -> Dict[str, list]:
    """Copy a file and take fields out of one of its parts."""
    dataset = copy.deepcopy(dataset)
    for field in fields:
        del dataset[kind][place][field]
    return dataset
