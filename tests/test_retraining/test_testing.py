"""A box head alone finds what the whole detector finds."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from eql_mmdet.datasets.class_config import complete_config
from eql_mmdet.retraining.testing import detect, propose

ROOT = Path(__file__).parents[2]
NUM = 5


@pytest.fixture(scope='module')
def setup(tiny_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_root)
        cfg = Config.fromfile(ROOT / 'configs/quick/baseline_tiny_lvis.py')
        init_default_scope('mmdet')
        complete_config(cfg)
        # Resized, so that boxes are scaled back.
        cfg.test_dataloader.dataset.pipeline[1].scale = (160, 160)
        dataset = DATASETS.build(
            dict(
                cfg.test_dataloader.dataset,
                data_root=str(tiny_root / 'data/tiny_lvis'),
                indices=NUM))
        dataset.full_init()
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=2.)
    return model, dataset


def test_detections_are_those_of_the_whole_model(setup):
    model, dataset = setup
    images = list(propose(model, dataset))
    assert len(images) == NUM and not model.training
    for image, item in zip(images, dataset):
        found = detect(model, image)
        whole, = model.test_step(pseudo_collate([item]))
        expected = whole.pred_instances
        assert len(expected)
        for name in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(
                found['pred_instances'][name],
                expected[name],
                msg=lambda text: f'{name}: {text}')
        assert found['img_id'] == whole.img_id


def test_another_head_finds_something_else_in_the_same_proposals(setup):
    model, dataset = setup
    image = next(propose(model, dataset))
    before = detect(model, image)['pred_instances']
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.weight.neg_()
    after = detect(model, image)['pred_instances']
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.weight.neg_()
    assert not torch.equal(before.labels[:10], after.labels[:10])
