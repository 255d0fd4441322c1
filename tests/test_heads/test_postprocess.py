"""The drop-in multiclass_nms and the heads: against MMDetection's own."""
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.layers import multiclass_nms as host_multiclass_nms
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from eql_mmdet.heads import nms, postprocess
from eql_mmdet.heads.postprocess import multiclass_nms


def host_with_stable_order(boxes, scores, thr, cfg, max_num):
    """Run the host on ranks: it does not keep the order of equal scores."""
    shown = scores[:, :-1]
    flat = shown.flatten()
    order = flat.argsort(descending=True, stable=True)
    rank = torch.empty(len(flat))
    rank[order] = torch.arange(len(flat), 0, -1).float()
    rank = rank.masked_fill(~(flat > thr), 0).view_as(shown)
    rank = torch.cat([rank, torch.zeros(len(scores), 1)], dim=1)
    dets, labels, inds = host_multiclass_nms(
        boxes, rank, 0.5, cfg, max_num, return_inds=True)
    dets[:, 4] = flat[inds]
    return dets, labels, inds


@st.composite
def outputs(draw):
    """Boxes (R, 4) or (R, 4 K), scores (R, K + 1), with ties and NaN."""
    rows, classes = draw(st.integers(1, 40)), draw(st.integers(1, 90))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    scores = torch.rand(rows, classes + 1, generator=generator)
    levels = draw(st.sampled_from([5, 100, 10**6]))
    scores = (scores * levels).round() / levels
    if draw(st.booleans()):
        scores[0] = torch.nan
    boxes = torch.rand(
        rows, classes if draw(st.booleans()) else 1, 4, generator=generator)
    boxes *= draw(st.sampled_from([4, 1333]))
    boxes -= draw(st.sampled_from([0, 2]))
    boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:].abs()
    return boxes.flatten(1), scores


@settings(deadline=None, max_examples=150)
@given(
    found=outputs(),
    thr=st.sampled_from([-1., 0.05, 0.9]),
    iou_threshold=st.sampled_from([0.3, 0.5]),
    max_num=st.sampled_from([1, 10, 300]),
    first=st.sampled_from([1, 4]))
def test_host_arithmetic_gives_the_bits_of_the_host(found, thr, iou_threshold,
                                                    max_num, first):
    cfg = dict(type='nms', iou_threshold=iou_threshold, split_thr=1)
    with mock.patch.multiple(nms, FIRST=first, BLOCK=7):
        got = multiclass_nms(
            *found, thr, cfg, max_num, return_inds=True, host_arithmetic=True)
    wanted = host_with_stable_order(*found, thr, cfg, max_num)
    assert all(map(torch.equal, got, wanted))


@settings(deadline=None, max_examples=100)
@given(found=outputs(), split_thr=st.sampled_from([1, 10000]))
def test_boxes_that_a_shift_cannot_round_give_the_bits_of_the_host(
        found, split_thr):
    boxes, scores = found[0].round().clamp(min=0), found[1]
    cfg = dict(type='nms', iou_threshold=0.5, split_thr=split_thr)
    got = multiclass_nms(boxes, scores, 0.05, cfg, 20, return_inds=True)
    wanted = host_with_stable_order(boxes, scores, 0.05, cfg, 20)
    assert all(map(torch.equal, got, wanted))


def spread_outputs(rows=60, classes=50):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(rows, classes, 4, generator=generator) * 50
    boxes[..., 2:] += boxes[..., :2]
    scores = torch.rand(rows, classes + 1, generator=generator)
    return boxes.flatten(1), scores


SETTINGS = {
    'default': {},
    'threshold of another name':
    dict(nms_cfg=dict(iou_thr=0.4)),
    'no type':
    dict(nms_cfg=dict(iou_threshold=0.4)),
    'soft-NMS':
    dict(nms_cfg=dict(type='soft_nms', iou_threshold=0.4)),
    'class-agnostic':
    dict(nms_cfg=dict(iou_threshold=0.4, class_agnostic=True)),
    'class-agnostic, split':
    dict(nms_cfg=dict(iou_threshold=0.4, class_agnostic=True, split_thr=5)),
    'not class-agnostic':
    dict(nms_cfg=dict(iou_threshold=0.4, class_agnostic=False, split_thr=5)),
    'offset':
    dict(nms_cfg=dict(iou_threshold=0.4, offset=1)),
    'no NMS':
    dict(nms_cfg=None),
    'all detections':
    dict(max_num=-1),
    'score factors':
    dict(score_factors=torch.linspace(0, 1, 60)),
    'no candidates':
    dict(score_thr=2.),
}


@pytest.mark.parametrize('return_inds', [True, False])
@pytest.mark.parametrize('changed', SETTINGS.values(), ids=SETTINGS)
def test_every_option_of_the_host_gives_its_result(changed, return_inds):
    options = dict(
        score_thr=0.1,
        nms_cfg=dict(type='nms', iou_threshold=0.5),
        max_num=100,
        return_inds=return_inds)
    options = {**options, **changed}
    boxes, scores = spread_outputs()
    wanted = host_multiclass_nms(boxes, scores, **options)
    got = multiclass_nms(boxes, scores, **options)
    assert len(got) == len(wanted) == 2 + return_inds
    assert all(map(torch.equal, got, wanted))
    assert [t.dtype for t in got] == [t.dtype for t in wanted]


def test_rotated_boxes_are_left_to_the_host():
    assert not postprocess.is_served(dict(iou_threshold=0.5), 10, box_dim=5)


def test_the_host_rounds_boxes_of_late_categories_and_we_do_not():
    """IoU 1.6 / 3.4; shifted by 8,384 x 1,001 > 2^23 pixels it is 2 / 3."""
    boxes = torch.tensor([[0., 0., 3.4, 1.], [0., 0., 1.6, 1.],
                          [900., 900., 1000., 1000.]])
    scores = torch.zeros(3, 10001)
    scores[:, 8384] = torch.tensor([0.9, 0.8, 0.7])
    cfg = dict(type='nms', iou_threshold=0.5, split_thr=1)
    assert len(multiclass_nms(boxes, scores, 0.1, cfg, 9)[0]) == 3
    assert len(host_multiclass_nms(boxes, scores, 0.1, cfg, 9)[0]) == 2
    rounded = multiclass_nms(boxes, scores, 0.1, cfg, 9, host_arithmetic=True)
    assert len(rounded[0]) == 2


K = 70
SHAPE = dict(num_classes=K, in_channels=4, roi_feat_size=1, fc_out_channels=8)
SIGMOID = dict(type='CrossEntropyCustomLoss', use_sigmoid=True, num_classes=K)
CONFIG = ConfigDict(
    score_thr=1e-4, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50)
META = dict(img_shape=(300, 400), ori_shape=(150, 200), scale_factor=(2., 2.))


def build(name, **kwargs):
    init_default_scope('mmdet')
    return MODELS.build(dict(type=name, **SHAPE, **kwargs))


def head_outputs(rows, channels, regressions):
    generator = torch.Generator().manual_seed(rows + channels)
    roi = torch.rand(rows, 5, generator=generator) * 200
    roi[:, 3:] += roi[:, 1:3]
    return dict(
        roi=roi,
        cls_score=2 * torch.randn(rows, channels, generator=generator) - 4,
        bbox_pred=torch.randn(rows, 4 * regressions, generator=generator),
        img_meta=META)


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for key in wanted.keys():
        assert torch.equal(got[key], wanted[key]), key
        assert got[key].dtype == wanted[key].dtype


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('sigmoid', [True, False])
@pytest.mark.parametrize('rows', [0, 1, 150])
@pytest.mark.parametrize('host_arithmetic', [True, False])
def test_head_detects_what_the_host_detects(rescale, agnostic, sigmoid, rows,
                                            host_arithmetic):
    loss = dict(loss_cls=SIGMOID) if sigmoid else {}
    host = build('Shared2FCBBoxHead', reg_class_agnostic=agnostic, **loss)
    ours = build(
        'LargeVocabBBoxHead',
        reg_class_agnostic=agnostic,
        host_arithmetic=host_arithmetic,
        **loss)
    found = head_outputs(rows, K + (not sigmoid), 1 if agnostic else K)
    options = dict(rescale=rescale, rcnn_test_cfg=CONFIG)
    wanted = host._predict_by_feat_single(**found, **options)
    assert len(wanted) == (50 if rows > 1 else len(wanted))
    assert_same(ours._predict_by_feat_single(**found, **options), wanted)


@pytest.mark.parametrize('changed', [
    dict(nms=dict(type='soft_nms', iou_threshold=0.5)),
    dict(max_per_img=-1),
    dict(score_thr=2.),
])
def test_head_keeps_the_settings_of_the_host(changed):
    cfg = ConfigDict({**CONFIG, **changed})
    found = head_outputs(40, K + 1, K)
    assert_same(
        build('LargeVocabBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=cfg),
        build('Shared2FCBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=cfg))


def test_rows_that_are_not_finite_are_treated_as_in_the_host():
    found = head_outputs(40, K + 1, K)
    found['cls_score'][3] = torch.nan
    found['cls_score'][5, 7] = torch.inf
    assert_same(
        build('LargeVocabBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=CONFIG),
        build('Shared2FCBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=CONFIG))


def test_without_test_settings_all_raw_results_come_back():
    """So test-time augmentation gets every box and score."""
    found = head_outputs(9, K + 1, K)
    raw = build('LargeVocabBBoxHead')._predict_by_feat_single(
        **found, rescale=True)
    assert raw.bboxes.shape == (9, 4 * K) and raw.scores.shape == (9, K + 1)
    assert_same(
        raw,
        build('Shared2FCBBoxHead')._predict_by_feat_single(
            **found, rescale=True))


def test_only_candidates_are_decoded(monkeypatch):
    head = build('LargeVocabBBoxHead')
    decode, sizes = head.bbox_coder.decode, []

    def count(boxes, deltas, **kwargs):
        sizes.append(len(deltas))
        return decode(boxes, deltas, **kwargs)

    monkeypatch.setattr(head.bbox_coder, 'decode', count)
    head._predict_by_feat_single(
        **head_outputs(300, K + 1, K), rcnn_test_cfg=CONFIG)
    assert 0 < sum(sizes) < 0.05 * 300 * K


def test_weights_have_the_names_of_the_host():
    ours, host = build('LargeVocabBBoxHead'), build('Shared2FCBBoxHead')
    assert ours.state_dict().keys() == host.state_dict().keys()
