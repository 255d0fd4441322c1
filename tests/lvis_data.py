"""Random LVIS files and predictions, small but with every hard case."""
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pycocotools.mask as mask_utils
import torch

HEIGHT, WIDTH = 40, 50
#: Areas on both sides of the limits 32 ** 2 and 96 ** 2 of small and medium.
SCALES = (1, 4)


def write_json(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def make_dataset(rng: np.random.Generator,
                 images: int,
                 categories: int,
                 objects: int = 6) -> Dict[str, list]:
    """An LVIS file: federated, with empty, crowded and unchecked images."""
    scale = SCALES[rng.integers(len(SCALES))]
    ids = rng.permutation(np.arange(1, 3 * categories))[:categories].tolist()
    dataset = dict(images=[], annotations=[], categories=[])
    for category in ids:
        dataset['categories'].append(
            dict(
                id=category,
                name=f'category {category}',
                frequency='rcf'[rng.integers(3)],
                image_count=int(rng.integers(1, 200))))
    for image in rng.permutation(images).tolist():
        _add_image(dataset, rng, image + 1, ids, objects, scale)
    return dataset


def _add_image(dataset: Dict[str, list], rng: np.random.Generator, image: int,
               ids: List[int], objects: int, scale: int) -> None:
    height, width = HEIGHT * scale, WIDTH * scale
    present = rng.choice(ids, rng.integers(0, min(4, len(ids)) + 1)).tolist()
    absent = sorted(set(ids) - set(present))
    dataset['images'].append(
        dict(
            id=image,
            height=height,
            width=width,
            file_name=f'{image}.jpg',
            neg_category_ids=[c for c in absent if rng.random() < 0.3],
            not_exhaustive_category_ids=[
                c for c in sorted(set(present)) if rng.random() < 0.4
            ]))
    for _ in range(rng.integers(0, objects + 1) if present else 0):
        x, y, w, h = make_box(rng, height, width)
        dataset['annotations'].append(
            dict(
                id=len(dataset['annotations']) + 1,
                image_id=image,
                category_id=present[rng.integers(len(present))],
                bbox=[x, y, w, h],
                area=w * h * rng.choice([1.0, 0.5]),
                segmentation=make_segmentation(rng, (x, y, w, h), height,
                                               width)))


def make_box(rng: np.random.Generator, height: int,
             width: int) -> Tuple[float, float, float, float]:
    """A box on a coarse grid, so that many overlaps are equal."""
    x, y = rng.integers(0, width - 6), rng.integers(0, height - 6)
    w, h = rng.integers(2, width - x + 1), rng.integers(2, height - y + 1)
    return float(x), float(y), float(w), float(h)


def make_segmentation(rng: np.random.Generator, box: tuple, height: int,
                      width: int) -> Any:
    """A rectangle in every form in which files hold masks."""
    x, y, w, h = box
    half = x + w / 2
    polygons = [[x, y, half, y, half, y + h, x, y + h],
                [half, y, x + w, y, x + w, y + h, half, y + h]]
    form = rng.integers(3)
    if form == 0:
        return polygons
    rle = mask_utils.merge(mask_utils.frPyObjects(polygons, height, width))
    if form == 1:
        return dict(rle, counts=rle['counts'].decode())
    pixels = np.pad(mask_utils.decode(rle).ravel('F'), 1)
    edges = np.flatnonzero(np.diff(pixels)).tolist()
    counts = np.diff([0, *edges, height * width]).tolist()
    return dict(size=[height, width], counts=counts)


def make_samples(rng: np.random.Generator,
                 dataset: Dict[str, list],
                 most: int = 8,
                 levels: int = 5) -> List[dict]:
    """Predictions as the host gives them to a metric.

    Scores have few levels, so that many are tied; boxes are often those of
    objects; categories may be unchecked in the image.
    """
    position = {c['id']: i for i, c in enumerate(dataset['categories'])}
    samples = []
    for image in dataset['images']:
        objects = [
            a for a in dataset['annotations'] if a['image_id'] == image['id']
        ]
        boxes, labels = [], []
        for _ in range(rng.integers(0, most + 1)):
            x, y, w, h = make_box(rng, image['height'], image['width'])
            label = int(rng.integers(len(position)))
            if objects and rng.random() < 0.6:
                chosen = objects[rng.integers(len(objects))]
                x, y, w, h = chosen['bbox']
                x, y = x + rng.integers(0, 2), y + rng.integers(-1, 2)
                if rng.random() < 0.3:  # between the pixels
                    x, y = x + rng.random(), y + rng.random()
                if rng.random() < 0.7:
                    label = position[chosen['category_id']]
            boxes.append([x, y, x + w, y + h])
            labels.append(label)
        scores = rng.integers(0, levels + 1, len(boxes)) / (levels + 1)
        samples.append(make_sample(image, boxes, scores, labels))
    return samples


def make_sample(image: dict, boxes: list, scores: list,
                labels: list) -> Dict[str, Any]:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    shape = (image['height'], image['width'])
    masks = torch.zeros(len(boxes), *shape, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.clamp(min=0).int()):
        mask[y1:y2, x1:x2] = True
        mask[y1::7, x1::5] = False
    return dict(
        img_id=image['id'],
        ori_shape=shape,
        pred_instances=dict(
            bboxes=boxes,
            scores=torch.as_tensor(np.asarray(scores), dtype=torch.float32),
            labels=torch.tensor(labels, dtype=torch.int64),
            masks=masks))


def official_results(samples: List[dict], dataset: Dict[str, list],
                     iou_type: str) -> List[dict]:
    """The same predictions as lvis wants them, one dict a detection."""
    ids = [c['id'] for c in dataset['categories']]
    items = []
    for sample in samples:
        pred = sample['pred_instances']
        for i, label in enumerate(pred['labels'].tolist()):
            x1, y1, x2, y2 = pred['bboxes'][i].tolist()
            item = dict(
                image_id=sample['img_id'],
                category_id=ids[label],
                score=pred['scores'][i].item())
            if iou_type == 'bbox':
                item['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            else:
                mask = np.asfortranarray(pred['masks'][i].numpy(), 'uint8')
                item['segmentation'] = mask_utils.encode(mask)
            items.append(item)
    return items
