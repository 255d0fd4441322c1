"""Masks of a cascade, averaged over its stages, are those of the host."""
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.utils import is_list_of

from eql_mmdet.heads.rle_masks import RLEMasks, UnpastedMasks

K = 6
CONFIGS = [
    ('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco', 'LargeVocabMaskHead'),
    ('htc/htc-without-semantic_r50_fpn_1x_coco', 'LargeVocabHTCMaskHead'),
]


def build(name, **mask_head):
    """Build a small cascade; its mask heads changed as wanted."""
    init_default_scope('mmdet')
    cfg = get_config(f'mmdet::{name}.py').model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.neck.update(in_channels=[8, 16, 32, 64])
    for head in cfg.roi_head.bbox_head:
        head.update(num_classes=K, fc_out_channels=32)
    masks = cfg.roi_head.mask_head  # one for all stages, or a list
    for head in masks if isinstance(masks, list) else [masks]:
        head.update(num_classes=K, num_convs=1, **mask_head)
    cfg.roi_head.mask_roi_extractor.roi_layer.output_size = 7
    cfg.test_cfg.rcnn.update(score_thr=1e-4, max_per_img=12)
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    model.init_weights()
    for head in model.roi_head.mask_head:  # or all pixels are undecided
        torch.nn.init.normal_(head.conv_logits.weight, std=3.)
    return model


def predict(model, data):
    with torch.no_grad():
        batch = model.data_preprocessor(data, False)
        return [s.pred_instances for s in model(**batch, mode='predict')]


@pytest.fixture(scope='module', params=CONFIGS, ids=['cascade', 'htc'])
def predictions(request):
    """Bitmaps of the host's heads, and those of ours: two images each."""
    name, ours = request.param
    data = demo_mm_inputs(2, [[3, 64, 96], [3, 80, 60]], num_classes=K)
    host = build(name)

    def by_ours(rle):
        model = build(name, type=ours, rle=rle)
        model.load_state_dict(host.state_dict())
        return predict(model, data)

    return predict(host, data), by_ours


def test_detections_have_masks_to_compare(predictions):
    for image in predictions[0]:
        assert len(image) == 12 and 0 < image.masks.float().mean() < 0.9


@pytest.mark.slow
def test_bitmaps_are_those_of_the_host(predictions):
    by_host, by_ours = predictions
    for host, ours in zip(by_host, by_ours(rle=False)):
        assert ours.masks.dtype == torch.bool
        assert torch.equal(host.masks, ours.masks)


def test_rle_is_served_and_gives_the_same_masks(predictions):
    by_host, by_ours = predictions
    found = by_ours(rle=True)
    assert is_list_of([image.masks for image in found], RLEMasks)
    for host, ours in zip(by_host, found):
        assert isinstance(ours.masks._masks, UnpastedMasks)
        assert torch.equal(host.bboxes, ours.bboxes)
        assert torch.equal(host.masks, torch.from_numpy(ours.masks.numpy()))
