"""A user's folder with a small COCO- or LVIS-format set and real images."""
import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ('disc', 'bar', 'dot')
SMALL = '''
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(depth=18, init_cfg=None, norm_eval=False, frozen_stages=-1),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(in_channels=32, conv_out_channels=16, num_convs=1)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=60, max_per_img=60),
                   rcnn=dict(sampler=dict(num=16))),
    # Few steps leave scores low: all of them count.
    test_cfg=dict(
        rpn=dict(nms_pre=60, max_per_img=60), rcnn=dict(score_thr=0)))
scale = (96, 96)
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
randomness = dict(seed=0)
'''


def write_split(root,
                split,
                labels,
                names=NAMES,
                order=None,
                frequencies='rcf',
                **image_extra):
    """Write one image a tuple of labels, with one square a label.

    Category ids are 10, 20, ... in the order of ``names``; ``order`` is the
    order in which the file lists them. Without ``frequencies`` it is a COCO
    file.
    """
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for i, image_labels in enumerate(labels):
        canvas = np.full((96, 96, 3), 90, np.uint8)
        for slot, label in enumerate(image_labels):
            x, y, side = 8 + 40 * (slot % 2), 8 + 40 * (slot // 2), 32
            cv2.rectangle(canvas, (x, y), (x + side, y + side),
                          (80 * label, 40, 250 - 80 * label), -1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=10 * (label + 1),
                    bbox=[x, y, side, side],
                    area=side * side,
                    segmentation=[[
                        x, y, x + side, y, x + side, y + side, x, y + side
                    ]]))
        cv2.imwrite(str(root / split / f'{i}.png'), canvas)
        images.append(
            dict(
                id=i, file_name=f'{i}.png', width=96, height=96,
                **image_extra))
    categories = [
        dict(id=10 * (k + 1), name=names[k])
        for k in order or range(len(names))
    ]
    if frequencies:
        for k, category in enumerate(categories):
            category['frequency'] = frequencies[k % len(frequencies)]
    content = dict(
        images=images, annotations=annotations, categories=categories)
    path = Path(root) / 'annotations' / f'{split}.json'
    path.write_text(json.dumps(content))
    return path
