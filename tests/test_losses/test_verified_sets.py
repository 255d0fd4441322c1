"""The sets of an image travel from the annotation file to the loss."""
import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.losses.fused import equalization_roi_loss
from eql_mmdet.rarity.tail import choose_tail

CONFIG = Path(__file__).parents[2] / 'configs/quick/eql_tiny_lvis.py'
ANNOTATIONS = 'data/tiny_lvis/annotations/tiny_lvis_train.json'
IMAGES = 3


def train_step(**replaced):
    """Losses of one batch with the rule; parts replaced by the host's."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    cfg.model.roi_head.bbox_head.loss_cls.update(keep_verified=True)
    cfg.train_dataloader.dataset.pipeline[-1].type = replaced.get(
        'pack', 'PackVerifiedInputs')
    cfg.model.train_cfg.rcnn.sampler.type = replaced.get(
        'sampler', 'VerifiedRandomSampler')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = pseudo_collate([dataset[i] for i in range(IMAGES)])
    batch = model.data_preprocessor(batch, training=True)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    return losses, [s.img_id for s in batch['data_samples']]


def test_sets_travel_from_the_file_to_the_loss(tiny_root, monkeypatch):
    monkeypatch.chdir(tiny_root)
    calls = []

    def record(logits, labels, tail, image_index, exclude_background):
        calls.append((tail.clone(), image_index))
        return equalization_roi_loss(logits, labels, tail, image_index,
                                     exclude_background)

    monkeypatch.setattr('eql_mmdet.losses.equalization.equalization_roi_loss',
                        record)
    losses, image_ids = train_step()
    (table, image_index), = calls
    assert torch.isfinite(losses['loss_cls'])
    assert image_index.unique().tolist() == list(range(IMAGES))

    content = json.loads((tiny_root / ANNOTATIONS).read_text())
    images = {image['id']: image for image in content['images']}
    tail = choose_tail(load_counts(ANNOTATIONS), target_ratio=0.1).mask
    for row, image_id in zip(table, image_ids):
        known = set(images[image_id]['neg_category_ids']) | {
            a['category_id']
            for a in content['annotations'] if a['image_id'] == image_id
        }
        expected = [
            0. if category['id'] in known else float(t)
            for category, t in zip(content['categories'], tail)
        ]
        assert row.tolist() == expected
    assert not torch.equal(table[0], table[1])


@pytest.mark.parametrize('replaced, message', [
    (dict(pack='PackDetInputs'), 'end the training pipeline with PackVer'),
    (dict(sampler='RandomSampler'), 'type="VerifiedRandomSampler"'),
])
def test_a_missing_part_is_named(tiny_root, monkeypatch, replaced, message):
    monkeypatch.chdir(tiny_root)
    with pytest.raises(ValueError, match=message):
        train_step(**replaced)
