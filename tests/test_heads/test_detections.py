"""The quick model on real images: everything found is what the host finds."""
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from eql_mmdet import EQLBBoxHead, LargeVocabBBoxHead, LargeVocabMaskHead

QUICK = Path(__file__).parents[2] / 'configs/quick'


@pytest.mark.parametrize('name, agnostic', [
    ('eql_tiny_lvis', True),
    ('baseline_tiny_lvis', False),
    pytest.param('eql_tiny_lvis', False, marks=pytest.mark.slow),
    pytest.param('baseline_tiny_lvis', True, marks=pytest.mark.slow),
])
def test_detections_and_masks_are_those_of_the_host(name, agnostic, tiny_root,
                                                    monkeypatch):
    monkeypatch.chdir(tiny_root)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = Config.fromfile(QUICK / f'{name}.py')
    cfg.model.roi_head.bbox_head.reg_class_agnostic = agnostic
    cfg.model.roi_head.mask_head.class_agnostic = agnostic
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(4)])
    with torch.no_grad():
        ours = model.test_step(batch)
        for head in (EQLBBoxHead, LargeVocabBBoxHead):
            monkeypatch.setattr(head, '_predict_by_feat_single',
                                BBoxHead._predict_by_feat_single)
        monkeypatch.setattr(LargeVocabMaskHead, '_predict_by_feat_single',
                            FCNMaskHead._predict_by_feat_single)
        host = model.test_step(pseudo_collate([dataset[i] for i in range(4)]))
    assert sum(len(sample.pred_instances) for sample in host) > 100
    for mine, theirs in zip(ours, host):
        mine, theirs = mine.pred_instances, theirs.pred_instances
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(mine[key], theirs[key]), key
        assert isinstance(theirs.masks, torch.Tensor)
        assert torch.equal(torch.as_tensor(mine.masks.numpy()), theirs.masks)
