"""LargeVocabMaskHead: against the masks of the host and pycocotools."""
import copy
import pickle

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import DumpDetResults
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from eql_mmdet.heads.paste import clear_outside, paste_crops
from eql_mmdet.heads.rle import encode_rows
from eql_mmdet.heads.rle_masks import RLEMasks

SHAPE = dict(num_convs=0, in_channels=4, conv_out_channels=4, num_classes=3)
SIZES = dict(num_convs=2, in_channels=8, conv_out_channels=64, num_classes=50)
CONFIG = ConfigDict(mask_thr_binary=0.5)


def build(agnostic=False, **kwargs):
    return MODELS.build(
        dict(
            type='mmdet.LargeVocabMaskHead',
            class_agnostic=agnostic,
            **SHAPE,
            **kwargs))


def build_host(agnostic=False):
    return FCNMaskHead(class_agnostic=agnostic, **SHAPE)


@st.composite
def mask_outputs(draw):
    """Boxes of every size, empty ones and ones at the border included."""
    number = draw(st.integers(1, 12))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    scale = draw(st.sampled_from([(1., 1.), (2.5, 1.5)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    limit = torch.tensor([width * scale[0], height * scale[1]])
    corners = torch.rand(number, 2, 2, generator=generator) * limit
    if draw(st.booleans()):
        corners = corners.round()
    kind = torch.randint(0, 5, (number, ), generator=generator)
    corners[kind == 0, 1] = corners[kind == 0, 0]  # no area
    corners[kind == 1, 0, 0], corners[kind == 1, 1, 0] = 0., limit[0]
    corners[kind == 2, 0, 1], corners[kind == 2, 1, 1] = 0., limit[1]
    corners[kind == 3] = torch.stack([limit * 0, limit])  # the whole image
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    logits = torch.randn(number, 3, 28, 28, generator=generator)
    if draw(st.booleans()):
        logits += 3
    labels = torch.randint(0, 3, (number, ), generator=generator)
    meta = dict(ori_shape=(height, width), scale_factor=scale)
    return logits, boxes, labels, meta


@settings(deadline=None, max_examples=150)
@given(found=mask_outputs(), rescale=st.booleans(), agnostic=st.booleans())
def test_bitmaps_and_boxes_are_those_of_the_host(found, rescale, agnostic):
    logits, boxes, labels, meta = found
    logits = logits[:, :1] if agnostic else logits
    results = []
    for head in (build_host(agnostic), build(agnostic),
                 build(agnostic, rle=True)):
        own_boxes = boxes.clone()
        masks = head._predict_by_feat_single(logits, own_boxes, labels, meta,
                                             CONFIG, rescale)
        results.append((masks, own_boxes))
    (host, host_boxes), (ours, our_boxes), (rle, rle_boxes) = results
    assert ours.dtype == host.dtype == torch.bool
    assert torch.equal(ours, host)
    assert rle.shape == host.shape
    assert np.array_equal(rle.numpy(), host.numpy())
    assert [r['counts'] for r in rle.rles
            ] == [r['counts'] for r in encode_mask_results(host.numpy())]
    assert torch.equal(our_boxes, host_boxes)
    assert torch.equal(rle_boxes, host_boxes)


@settings(deadline=None, max_examples=100)
@given(found=mask_outputs())
def test_whole_images_are_cleared_to_those_of_the_host_on_a_cpu(found):
    logits, boxes, labels, meta = found
    boxes = boxes / torch.tensor(meta['scale_factor']).repeat(2)
    meta = dict(meta, scale_factor=(1., 1.))
    # What the host does on a GPU.
    whole, _ = _do_paste_mask(
        logits[:, :1].sigmoid(), boxes, *meta['ori_shape'], skip_empty=False)
    host = build_host(True)._predict_by_feat_single(logits[:, :1],
                                                    boxes.clone(), labels,
                                                    meta, CONFIG)
    assert torch.equal(clear_outside(whole >= 0.5, boxes), host)


def real_case():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(5, 4, generator=generator) * 30
    boxes[:, 2:] += boxes[:, :2]
    meta = dict(ori_shape=(60, 60), scale_factor=(1., 1.))
    return (torch.randn(5, 3, 28, 28, generator=generator), boxes,
            torch.tensor([0, 1, 2, 1, 0]), meta)


def test_pictures_of_scores_are_left_to_the_host():
    logits, boxes, labels, meta = real_case()
    ours, host = (
        head._predict_by_feat_single(logits, boxes.clone(), labels, meta,
                                     ConfigDict(mask_thr_binary=-1))
        for head in (build(rle=True), build_host()))
    assert ours.dtype == host.dtype and torch.equal(ours, host)


@pytest.mark.parametrize('kind', [torch.Tensor.numpy, torch.clone])
@pytest.mark.parametrize('agnostic', [False, True])
def test_masks_that_are_scores_already_are_only_pasted(kind, agnostic):
    logits, boxes, labels, meta = real_case()
    scores = logits[:, :1].sigmoid() if agnostic else logits.sigmoid()
    host, bitmaps, rle = (
        head._predict_by_feat_single(
            kind(scores),
            boxes.clone(),
            labels,
            meta,
            CONFIG,
            activate_map=True)
        for head in (build_host(agnostic), build(agnostic),
                     build(agnostic, rle=True)))
    assert 0 < host.float().mean() < 1
    assert torch.equal(bitmaps, host)
    assert np.array_equal(rle.numpy(), host.numpy())


def test_scores_equal_to_the_threshold_belong_to_the_object():
    logits, boxes, labels, meta = real_case()
    ours, host = (
        head._predict_by_feat_single(logits * 0, boxes.clone(), labels, meta,
                                     CONFIG)
        for head in (build(), build_host()))
    assert host.any() and torch.equal(ours, host)


@pytest.fixture
def rle_and_bitmaps():
    logits, boxes, labels, meta = real_case()
    return (build(rle=True)._predict_by_feat_single(logits, boxes,
                                                    labels, meta, CONFIG),
            build_host()._predict_by_feat_single(logits, boxes, labels, meta,
                                                 CONFIG))


@pytest.mark.parametrize('item', [
    2, -1,
    np.int64(3),
    slice(1, 4), [0, 3],
    np.array([True, False, True, False, False]),
    torch.tensor([4, 0]),
    torch.tensor([False, True, True, False, True]),
    torch.zeros(5).bool()
])
def test_rle_masks_are_indexed_like_a_tensor(rle_and_bitmaps, item):
    rle, bitmaps = rle_and_bitmaps
    assert np.array_equal(np.asarray(rle[item]), bitmaps[item].numpy())


def test_rle_masks_are_read_like_a_tensor(rle_and_bitmaps):
    rle, bitmaps = rle_and_bitmaps
    assert len(rle) == 5 and rle.shape == bitmaps.shape
    assert all(map(torch.equal, rle, bitmaps))
    assert np.array_equal(rle.detach().cpu().numpy(), bitmaps.numpy())
    assert np.array_equal(rle.astype('uint8'), bitmaps.byte().numpy())
    assert torch.equal(rle[0] | rle[1], bitmaps[0] | bitmaps[1])
    assert len(RLEMasks.cat([rle, rle[:2]])) == 7
    with pytest.raises(IndexError):
        rle[5]


@pytest.fixture
def pasted(monkeypatch):
    """How many masks were pasted, call by call."""
    numbers = []

    def count(masks, boxes, size, threshold):
        numbers.append(len(masks))
        return paste_crops(masks, boxes, size, threshold)

    monkeypatch.setattr('eql_mmdet.heads.rle_masks.paste_crops', count)
    return numbers


def test_only_masks_that_are_asked_for_are_pasted(rle_and_bitmaps, pasted):
    rle, bitmaps = rle_and_bitmaps
    part = rle[torch.tensor([True, False, True, True, False])]
    assert len(part) == 3 and rle.shape == bitmaps.shape and pasted == []
    rows = np.array([0, 2])
    counts = encode_rows(part, rows, (60, 60), 1)
    assert pasted == [2]
    assert counts == [rle.rles[0]['counts'], rle.rles[3]['counts']]
    assert pasted == [2, 5]
    assert list(map(torch.equal, rle, bitmaps)) == [True] * 5
    assert pasted == [2, 5]


def test_parts_are_put_together_before_they_are_pasted(rle_and_bitmaps,
                                                       pasted):
    rle, bitmaps = rle_and_bitmaps
    instances = InstanceData(scores=torch.arange(5), masks=rle)
    chosen = instances[instances.scores > 1]
    assert len(chosen.masks) == 3 and pasted == []
    assert np.array_equal(chosen.masks.numpy(), bitmaps[2:].numpy())
    assert pasted == [3]
    mixed = RLEMasks.cat([rle, chosen.masks])
    assert np.array_equal(mixed.numpy()[5:], bitmaps[2:].numpy())


def test_boxes_that_are_rescaled_later_change_no_mask():
    logits, boxes, labels, meta = real_case()
    found = [
        build(rle=True)._predict_by_feat_single(logits, boxes, labels, meta,
                                                CONFIG) for _ in range(2)
    ]
    first = found[0].rles
    boxes *= 0.5
    assert found[1].rles == first


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_hold_rle_and_no_tensors(rle_and_bitmaps, copied, pasted):
    found = copied(rle_and_bitmaps[0])
    assert pasted == [5]
    assert np.array_equal(found.numpy(), rle_and_bitmaps[1].numpy())
    assert pasted == [5]


def sample(masks):
    instances = InstanceData(
        bboxes=real_case()[1],
        labels=real_case()[2],
        scores=torch.tensor([.9, .2, .8, .7, .1]),
        masks=masks)
    return DetDataSample(pred_instances=instances)


def test_pictures_are_those_of_bitmaps(rle_and_bitmaps):
    drawn = []
    for masks in rle_and_bitmaps:
        np.random.seed(0)
        visualizer = DetLocalVisualizer()
        visualizer.dataset_meta = dict(classes=('a', 'b', 'c'))
        visualizer.add_datasample(
            'x',
            np.zeros((60, 60, 3), 'uint8'),
            sample(masks),
            draw_gt=False,
            pred_score_thr=0.3)
        drawn.append(visualizer.get_image())
    assert np.array_equal(*drawn) and drawn[0].any()


def test_dumped_results_are_those_of_bitmaps(rle_and_bitmaps, tmp_path):
    dumped = []
    for masks in rle_and_bitmaps:
        metric = DumpDetResults(str(tmp_path / 'out.pkl'))
        metric.process({}, [sample(masks).to_dict()])
        dumped.append(metric.results[0]['pred_instances']['masks'])
    assert dumped[0] == dumped[1]
    assert mask_utils.area(dumped[0][:2]).sum() > 0


def build_quiet(std):
    head = MODELS.build(
        dict(type='mmdet.LargeVocabMaskHead', predictor_std=std, **SIZES))
    head.init_weights()
    return head


@pytest.mark.parametrize('std', [0.001, 0.1])
def test_predictor_has_the_spread_and_the_rest_is_the_host(std):
    torch.manual_seed(0)
    head = build_quiet(std)
    assert head.conv_logits.weight.std().item() == pytest.approx(std, rel=0.05)
    assert (head.conv_logits.bias == 0).all()
    torch.manual_seed(0)
    host = FCNMaskHead(**SIZES)
    host.init_weights()
    theirs = host.state_dict()
    for name, value in head.state_dict().items():
        assert torch.equal(value,
                           theirs[name]) == (name
                                             != 'conv_logits.weight'), name


def test_first_masks_are_undecided():
    head = build_quiet(0.001)
    scores = head(torch.randn(3, 8, 14, 14)).sigmoid()
    assert scores.shape == (3, 50, 28, 28)
    torch.testing.assert_close(
        scores, torch.full_like(scores, 0.5), rtol=0, atol=0.02)


@pytest.mark.parametrize('std', [0, -0.001, float('nan')])
def test_spread_that_is_not_positive_is_named(std):
    with pytest.raises(ValueError, match=f'above 0, but got {std}'):
        build_quiet(std)
