"""A converted model computes what detectron2's computes.

The other side is ``detectron2_model.py``: names, layouts and arithmetic of
detectron2, written in plain torch without looking at the package.
"""
from pathlib import Path
from types import SimpleNamespace

import detectron2_model as theirs
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from eql_mmdet.checkpoints.detectron2 import to_mmdet

CONFIGS = Path(__file__).parents[2] / 'configs'
SHAPE = (96, 128)
CATEGORIES = 60


def small_config(tiny_root, softmax, style, agnostic, depth):
    """One of the LVIS configs, narrow and with 60 categories."""
    name = 'baseline' if softmax else 'eql'
    cfg = Config.fromfile(CONFIGS / f'{name}_r50_fpn_1x_lvis.py').model
    w = theirs.WIDTHS
    cfg.backbone.update(
        depth=depth,
        style=style,
        base_channels=w['width'],
        stem_channels=w['stem'],
        init_cfg=None)
    cfg.neck.update(
        in_channels=[4 * w['width'] << i for i in range(4)],
        out_channels=w['fpn'])
    cfg.rpn_head.update(in_channels=w['fpn'], feat_channels=w['fpn'])
    head = cfg.roi_head
    head.bbox_roi_extractor.out_channels = w['fpn']
    head.mask_roi_extractor.out_channels = w['fpn']
    head.bbox_head.update(
        in_channels=w['fpn'],
        fc_out_channels=w['fc'],
        num_classes=CATEGORIES,
        reg_class_agnostic=agnostic)
    head.mask_head.update(
        in_channels=w['fpn'],
        conv_out_channels=w['mask'],
        num_classes=CATEGORIES,
        class_agnostic=agnostic)
    if not softmax:
        ann = 'data/tiny_lvis/annotations/tiny_lvis_train.json'
        head.bbox_head.loss_cls.frequency_source = str(tiny_root / ann)
    cfg.test_cfg.rpn.max_per_img = 60
    return cfg


@pytest.fixture(
    params=[(False, 'caffe', False, 50), (True, 'pytorch', True, 101),
            pytest.param((True, 'caffe', True, 50), marks=pytest.mark.slow),
            pytest.param((True, 'pytorch', False, 101),
                         marks=pytest.mark.slow),
            pytest.param((False, 'pytorch', True, 101),
                         marks=pytest.mark.slow)],
    ids=lambda p: f'{"softmax" if p[0] else "sigmoid"}-{p[1]}-'
    f'{"agnostic" if p[2] else "specific"}-{p[3]}')
def case(request, tiny_root):
    """detectron2's weights, and mmdet's model with the converted ones."""
    softmax, style, agnostic, depth = request.param
    init_default_scope('mmdet')
    rows = 1 if agnostic else CATEGORIES
    weights = theirs.make_model(
        depth=depth, scores=CATEGORIES + softmax, boxes=rows, masks=rows)
    model = MODELS.build(small_config(tiny_root, *request.param)).eval()
    model.load_state_dict(
        to_mmdet({
            'model': weights
        }).checkpoint['state_dict'], strict=True)
    random = torch.Generator().manual_seed(1)
    return SimpleNamespace(
        weights=weights,
        model=model,
        softmax=softmax,
        stride_in_1x1=style == 'caffe',
        image=2 * torch.randn(1, 3, *SHAPE, generator=random),
        random=random)


@pytest.fixture
def exact(case):
    """The same in double precision, where orders are all that differs."""
    case.model.double()
    case.weights = {k: v.double() for k, v in case.weights.items()}
    case.image = case.image.double()
    return case


def sample():
    return DetDataSample(
        metainfo=dict(
            img_shape=SHAPE,
            ori_shape=SHAPE,
            batch_input_shape=SHAPE,
            pad_shape=SHAPE,
            scale_factor=(1., 1.)))


def random_boxes(case, number):
    corner = torch.rand(
        number, 2, generator=case.random, dtype=torch.double) * 60
    size = torch.rand(
        number, 2, generator=case.random, dtype=torch.double) * 30 + 4
    return torch.cat([corner, corner + size], 1)


def pooled(case, side):
    shape = (9, theirs.WIDTHS['fpn'], side, side)
    return torch.randn(shape, generator=case.random, dtype=torch.double)


def assert_agree(found, expected, atol=1e-9):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@torch.no_grad()
def test_backbone_and_pyramid_agree(exact):
    found = exact.model.extract_feat(exact.image)
    expected = theirs.backbone(exact.weights, exact.image, exact.stride_in_1x1)
    assert len(found) == 5
    assert_agree(list(found), expected)


@torch.no_grad()
def test_rpn_scores_and_boxes_agree(exact):
    head = exact.model.rpn_head
    features = [
        torch.randn(1, 8, *size, generator=exact.random, dtype=torch.double)
        for size in ((6, 8), (3, 4), (2, 2), (1, 2), (1, 1))
    ]
    # Boxes as predicted, before any is clipped, sorted or suppressed.
    head.test_cfg.nms_pre = 0
    head.bbox_coder.clip_border = False
    found = []
    head._bbox_post_process = lambda results, **_: found.append(results)
    head.predict(features, [sample()], rescale=False)
    expected = [
        theirs.rpn_level(exact.weights, level, feature)
        for level, feature in enumerate(features)
    ]
    logits, boxes = (torch.cat(part) for part in zip(*expected))
    assert_agree(found[0].scores, logits.sigmoid())
    # In units of the smallest anchor: mmdet keeps anchors in float32.
    assert_agree(found[0].bboxes / 32, boxes / 32, atol=1e-5)


@torch.no_grad()
def test_box_head_scores_and_boxes_agree(exact):
    head = exact.model.roi_head.bbox_head
    features, rois = pooled(exact, 7), random_boxes(exact, 9)
    logits, deltas = head(features)
    scores = (
        logits.softmax(1)
        if exact.softmax else head.loss_cls.get_activation(logits))
    boxes = head.bbox_coder.decode(
        rois.repeat_interleave(deltas.shape[1] // 4, 0), deltas.reshape(-1, 4))
    expected = theirs.box_head(exact.weights, features, rois, exact.softmax)
    assert_agree(scores[:, :-1], expected[0])
    assert_agree(boxes.reshape(expected[1].shape), expected[1])


@torch.no_grad()
def test_mask_head_agrees(exact):
    features = pooled(exact, 14)
    assert_agree(
        exact.model.roi_head.mask_head(features),
        theirs.mask_head(exact.weights, features))


@torch.no_grad()
def test_detections_agree(case):
    found = case.model.predict(
        case.image, [sample()], rescale=False)[0].pred_instances
    boxes, scores, labels = theirs.detect(
        case.weights, case.image, case.stride_in_1x1, case.softmax, rois=60)
    assert len(labels) == 300 and len(set(labels.tolist())) > 5
    assert found.labels.equal(labels)
    torch.testing.assert_close(found.scores, scores, rtol=0, atol=1e-5)
    # In units of the image: pixels are 128 times coarser in float32.
    torch.testing.assert_close(
        found.bboxes / max(SHAPE), boxes / max(SHAPE), rtol=0, atol=1e-5)
