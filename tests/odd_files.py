"""Random COCO files with everything that exporters do, seed by seed."""
from typing import Any, Dict, List

import numpy as np
import pycocotools.mask as mask_utils
from user_files import square

HEIGHT, WIDTH = 60, 90


def odd_coco_file(seed: int) -> Dict[str, list]:
    """Crowds, ``ignore``, tiny, outside, flat, unlisted; all mask forms.

    The host reads all of it, so nothing that it needs is missing.
    """
    rng = np.random.default_rng(seed)
    categories = int(rng.integers(1, 5))
    ids = rng.choice(40, categories, replace=False).tolist()
    dataset = dict(images=[], annotations=[], categories=[])
    for id_ in ids:
        dataset['categories'].append(dict(id=id_, name=f'class {id_}'))
    image_ids = rng.permutation(12)[:rng.integers(1, 6)].tolist()
    for id_ in image_ids:
        dataset['images'].append(
            dict(id=id_, file_name=f'{id_}.png', height=HEIGHT, width=WIDTH))
    unlisted = [50] if rng.random() < 0.3 else []
    for number in rng.permutation(rng.integers(1, 20)).tolist():
        dataset['annotations'].append(
            odd_object(rng, number, rng.choice(image_ids + unlisted),
                       rng.choice(ids)))
    return dataset


def odd_object(rng: np.random.Generator, number: int, image: int,
               category: int) -> Dict[str, Any]:
    item = dict(
        id=number,
        image_id=int(image),
        category_id=int(category),
        bbox=odd_box(rng),
        area=float(rng.choice([400, 90.5, 0, -3], p=[.6, .2, .1, .1])))
    for flag in ('iscrowd', 'ignore'):
        value = rng.choice([None, 0, 1, False, True, 'missing'],
                           p=[.1, .5, .07, .08, .05, .2])
        if value != 'missing':
            item[flag] = value
    mask = odd_mask(rng)
    if mask != 'missing':
        item['segmentation'] = mask
    return item


def odd_box(rng: np.random.Generator) -> List[float]:
    kind = rng.choice(['inside', 'edge', 'outside', 'tiny', 'reversed'],
                      p=[.6, .1, .1, .1, .1])
    x, y = rng.integers(0, [WIDTH - 30, HEIGHT - 30]).tolist()
    w, h = rng.integers(1, 30, 2).tolist()
    if kind == 'edge':
        x, y = -w + int(rng.integers(0, 3)), HEIGHT - int(rng.integers(0, 3))
    elif kind == 'outside':
        x = WIDTH + 7
    elif kind == 'tiny':
        x, y, w, h = x + 0.25, y + 0.5, float(rng.choice([0.5, 1, 0])), h + 0.5
    elif kind == 'reversed':
        w = -w
    return [x, y, w, h]


def odd_mask(rng: np.random.Generator) -> Any:
    polygons = square(*rng.integers(1, 30, 2).tolist(), 12)
    rle = mask_utils.merge(mask_utils.frPyObjects(polygons, HEIGHT, WIDTH))
    forms = [
        polygons, polygons + [[1, 2, 3, 4]], [[1, 2, 3, 4]], [[]], [], None,
        'missing',
        dict(size=[HEIGHT, WIDTH], counts=rle['counts'].decode()),
        dict(size=[HEIGHT, WIDTH], counts=[5, 400, HEIGHT * WIDTH - 405])
    ]
    return forms[rng.choice(9, p=[.4, .1, .05, .05, .1, .05, .05, .1, .1])]
