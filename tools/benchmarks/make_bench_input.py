#!/usr/bin/env python
"""Write synthetic input of the size of LVIS for bench_evaluation.py.

Federated annotations with log-normal objects, and a fixed number of
detections in each image: half of those of checked categories are jittered
objects. The same settings give the same input.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_utils

HEIGHT, WIDTH = 480, 640


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('out_dir', help='new folder')
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=300)
    parser.add_argument('--categories', type=int, default=1230)
    parser.add_argument(
        '--checked-share',
        type=float,
        default=0.25,
        help='share of detections of categories that are checked in their '
        'image')
    return parser.parse_args(argv)


def main(argv=None):
    """Write annotations.json and detections.npz."""
    args = parse_args(argv)
    folder = Path(args.out_dir)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, args.categories + 1)
    weights /= weights.sum()
    dataset = dict(
        images=[],
        annotations=[],
        categories=[
            dict(
                id=i + 1,
                name=f'category {i + 1}',
                frequency='fcr'[3 * i // args.categories],
                image_count=args.categories - i)
            for i in range(args.categories)
        ])
    columns = [[] for _ in range(5)]
    for image_id in range(1, args.images + 1):
        objects, checked = add_image(dataset, rng, weights, image_id)
        found = detect(args, rng, objects, checked)
        for column, values in zip(columns, found):
            column.append(values)
    (folder / 'annotations.json').write_text(json.dumps(dataset))
    names = ('boxes', 'scores', 'labels', 'lengths', 'rle')
    np.savez(folder / 'detections.npz',
             **dict(zip(names, map(np.concatenate, columns))))


def add_image(dataset, rng, weights, image_id):
    """Annotate one image; return its objects and checked categories."""
    chosen = rng.choice(len(weights), 14, replace=False, p=weights)
    present, absent = chosen[:rng.integers(1, 8)], chosen[7:]
    dataset['images'].append(
        dict(
            id=image_id,
            height=HEIGHT,
            width=WIDTH,
            file_name='',
            neg_category_ids=(absent + 1).tolist(),
            not_exhaustive_category_ids=(present[:1] + 1).tolist()))
    objects = []
    for category in present:
        for box in random_boxes(rng, rng.geometric(0.35)):
            polygon = outline(rng, box)
            box = box.tolist()
            objects.append((category, box))
            dataset['annotations'].append(
                dict(
                    id=len(dataset['annotations']) + 1,
                    image_id=image_id,
                    category_id=int(category) + 1,
                    bbox=box,
                    area=box[2] * box[3] * 0.7,
                    segmentation=[np.round(polygon, 2).tolist()]))
    return objects, np.concatenate([present, absent])


def random_boxes(rng, number):
    """Draw boxes (x, y, width, height) whose side is log-normal."""
    sides = np.exp(rng.normal(3.5, 0.9, (number, 1)))
    sides = sides * np.exp(rng.normal(0, 0.3, (number, 2)))
    sides = sides.clip(4, [WIDTH - 1, HEIGHT - 1])
    corners = rng.random((number, 2)) * ([WIDTH, HEIGHT] - sides)
    return np.round(np.hstack([corners, sides]), 2)


def outline(rng, box):
    """Draw a wavy polygon in a box."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 0.5 - 0.1 * rng.random(24)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    return (box[:2] + (points + 0.5) * box[2:]).ravel()


def detect(args, rng, objects, checked):
    """Predict: some jittered objects, other checked ones, and the rest."""
    number = args.detections
    boxes = random_boxes(rng, number)
    labels = rng.choice(
        np.setdiff1d(np.arange(args.categories), checked), number)
    wanted = np.flatnonzero(rng.random(number) < args.checked_share)
    labels[wanted] = rng.choice(checked, len(wanted))
    for row in wanted[::2]:
        category, box = objects[rng.integers(len(objects))]
        labels[row] = category
        boxes[row] = box + rng.normal(0, 0.05, 4) * np.tile(box[2:], 2)
    boxes[:, :2] = boxes[:, :2].clip(0, [WIDTH - 4, HEIGHT - 4])
    boxes[:, 2:] = boxes[:, 2:].clip(1, [WIDTH, HEIGHT] - boxes[:, :2])
    polygons = [outline(rng, box).tolist() for box in boxes]
    rles = [
        rle['counts']
        for rle in mask_utils.frPyObjects(polygons, HEIGHT, WIDTH)
    ]
    scores = np.sort(rng.beta(0.5, 5, number))[::-1]
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    return (corners.astype(np.float32), scores.astype(np.float32), labels,
            np.array([len(rle) for rle in rles]),
            np.frombuffer(b''.join(rles), np.uint8))


if __name__ == '__main__':
    main()
