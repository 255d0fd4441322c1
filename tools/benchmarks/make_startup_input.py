#!/usr/bin/env python
"""Write an LVIS file of the size of LVIS for bench_startup.py, no images.

Polygons of 8 to 65 points make it about 390 MiB. The same settings give the
same file.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 480, 640
#: Points of a polygon: from, to before.
POINTS = (8, 66)


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('out', help='new file (.json)')
    parser.add_argument('--images', type=int, default=57_000)
    parser.add_argument('--objects', type=int, default=557_000)
    parser.add_argument('--categories', type=int, default=1230)
    return parser.parse_args(argv)


def main(argv=None):
    """Write the file; it is whole or not there."""
    args = parse_args(argv)
    if Path(args.out).exists():
        raise FileExistsError(
            f'"{args.out}" is already there; remove it or choose another')
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    part = f'{args.out}.part'
    with open(part, 'w') as file:
        file.write('{"info":{"year":2019},"images":')
        json.dump(list(images(args, rng)), file)
        file.write(',"categories":')
        json.dump(list(categories(args)), file)
        file.write(',"annotations":[')
        for number, item in enumerate(objects(args, rng)):
            file.write(',' * (number > 0) + json.dumps(item))
        file.write(']}')
    os.replace(part, args.out)


def images(args, rng):
    """Yield images as LVIS v0.5 has them, 8 absent categories each."""
    for id_ in range(1, args.images + 1):
        yield dict(
            id=id_,
            file_name=f'COCO_train2014_{id_:012d}.jpg',
            height=HEIGHT,
            width=WIDTH,
            neg_category_ids=rng.integers(1, args.categories + 1, 8).tolist(),
            not_exhaustive_category_ids=[],
            license=1,
            coco_url=f'http://images.cocodataset.org/train2017/{id_:012d}.jpg',
            flickr_url='x',
            date_captured='2013-11-14 17:02:52')


def categories(args):
    """Yield categories with all the fields of LVIS."""
    for id_ in range(1, args.categories + 1):
        yield {
            'id': id_,
            'name': f'category {id_}',
            'frequency': 'rcf'[id_ % 3],
            'image_count': 10,
            'instance_count': 10,
            'synset': 'x.n.01',
            'synonyms': ['x'],
            'def': 'a thing'
        }


def objects(args, rng):
    """Yield objects in random images, few categories having most."""
    number = args.objects
    image = rng.integers(1, args.images + 1, number)
    rank = (3 * rng.pareto(0.6, number)).clip(max=args.categories - 1)
    size = rng.uniform(10, 150, (number, 2))
    corner = rng.uniform(0, 1, (number, 2)) * ((WIDTH, HEIGHT) - size)
    points = rng.integers(*POINTS, number)
    for i in range(number):
        angle = np.linspace(0, 2 * np.pi, points[i], endpoint=False)
        circle = 1 + np.stack([np.cos(angle), np.sin(angle)], axis=1)
        polygon = (corner[i] + size[i] / 2 * circle).round(2)
        yield dict(
            id=i + 1,
            image_id=int(image[i]),
            category_id=int(rank[i]) + 1,
            bbox=[*corner[i].round(2).tolist(), *size[i].round(2).tolist()],
            area=round(float(size[i].prod()) * 0.78, 2),
            segmentation=[polygon.ravel().tolist()])


if __name__ == '__main__':
    main()
