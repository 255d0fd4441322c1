"""Detections and masks of a GPU are those of the CPU."""
import contextlib

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from eql_mmdet.heads import postprocess
from eql_mmdet.heads.candidates import mask_rows_
from eql_mmdet.heads.nms import class_nms

pytestmark = pytest.mark.gpu
K, R, SIZE = 200, 600, (240, 320)
TEST_CFG = ConfigDict(
    score_thr=1e-4,
    nms=dict(type='nms', iou_threshold=0.5),
    max_per_img=300,
    mask_thr_binary=0.5)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_boxes(number):
    centres = draw(number, 2, seed=1).sigmoid() * torch.tensor(SIZE[::-1])
    half = draw(number, 2, seed=2).exp() * 12
    # Some lose their width here, as boxes at a border do.
    return torch.cat([centres - half, centres + half], dim=1).clamp(0, 240)


def test_suppression_is_that_of_the_cpu_to_the_last_bit(device):
    scores, boxes = draw(R, K).sigmoid(), draw_boxes(R)

    def suppress(place):
        placed = boxes.to(place)
        kept = class_nms(
            scores.to(place), lambda rows, labels: placed[rows], 0.5, 0.5, 300)
        return [item.cpu() for item in kept]

    for cpu, other in zip(suppress('cpu'), suppress(device)):
        assert len(cpu) == 300 and torch.equal(cpu, other)


@pytest.mark.parametrize('name', ['EQLBBoxHead', 'LargeVocabBBoxHead'])
def test_detections_are_those_of_the_cpu(name, device):
    loss = dict(type='CrossEntropyCustomLoss', use_sigmoid=True, num_classes=K)
    extra = 1
    if name == 'EQLBBoxHead':
        extra, loss = 0, dict(
            type='mmdet.EqualizationLoss',
            frequency_source='lvis_v0.5',
            frequency_threshold=1e-3)
    classes = 1230 if name == 'EQLBBoxHead' else K
    head = MODELS.build(
        dict(
            type=f'mmdet.{name}',
            num_classes=classes,
            in_channels=1,
            fc_out_channels=1,
            roi_feat_size=1,
            loss_cls=dict(loss, type=f'mmdet.{loss["type"].split(".")[-1]}')))
    inputs = dict(
        roi=torch.nn.functional.pad(draw_boxes(R), (1, 0)),
        cls_score=draw(R, classes + extra) * 2 - 5,
        bbox_pred=draw(R, 4 * classes, seed=3) * 0.5)

    def detect(place):
        found = head.to(place)._predict_by_feat_single(
            **{
                k: v.to(place)
                for k, v in inputs.items()
            },
            img_meta=dict(img_shape=SIZE, scale_factor=(1., 1.)),
            rcnn_test_cfg=TEST_CFG)
        assert found.scores.device.type == torch.device(place).type
        return found.cpu()

    cpu, other = detect('cpu'), detect(device)
    assert len(cpu) == len(other) == 300
    torch.testing.assert_close(other.scores, cpu.scores, rtol=1e-5, atol=1e-7)
    # Rounding may swap neighbours of nearly equal scores, no more.
    moved = (cpu.labels != other.labels).sum()
    assert moved <= 6
    same = cpu.labels == other.labels
    torch.testing.assert_close(
        other.bboxes[same], cpu.bboxes[same], rtol=1e-4, atol=1e-2)


@pytest.fixture
def no_waits(device):
    """Where the host may not wait for the device."""

    @contextlib.contextmanager
    def watch():
        if device.type == 'cuda':
            torch.cuda.set_sync_debug_mode('error')
        yield
        if device.type == 'cuda':
            torch.cuda.set_sync_debug_mode('default')

    return watch


def test_broken_rows_are_dropped_and_told_without_a_wait(
        device, no_waits, monkeypatch):
    head = MODELS.build(
        dict(
            type='mmdet.LargeVocabBBoxHead',
            num_classes=K,
            in_channels=1,
            fc_out_channels=1,
            roi_feat_size=1))
    deltas = draw(R, 4 * K, seed=3) * 0.5
    deltas[7, 11] = torch.nan
    scores, placed = draw(R, K + 1).to(device), deltas.to(device)
    with no_waits():
        usable = mask_rows_(scores, placed)
        (~usable).any().to('cpu', non_blocking=True)
    assert (~usable).nonzero().tolist() == [[7]]

    told = []
    monkeypatch.setattr(postprocess, 'warn_each', told.append)

    def detect(place):
        return head.to(place)._predict_by_feat_single(
            torch.nn.functional.pad(draw_boxes(R), (1, 0)).to(place),
            draw(R, K + 1).to(place) * 2,
            deltas.to(place),
            img_meta=dict(img_shape=SIZE, scale_factor=(1., 1.)),
            rcnn_test_cfg=TEST_CFG).cpu()

    cpu, other = detect('cpu'), detect(device)
    assert told == 2 * [[postprocess.BROKEN]]
    assert len(cpu) == len(other) == 300
    assert other.bboxes.isfinite().all()


def masks(device, rle, are_scores):
    head = MODELS.build(
        dict(
            type='mmdet.LargeVocabMaskHead',
            num_convs=0,
            in_channels=1,
            conv_out_channels=1,
            num_classes=5,
            rle=rle)).to(device)
    logits = draw(40, 5, 7, 7) * 3
    logits = torch.nn.functional.interpolate(logits, (28, 28), mode='bilinear')
    logits = logits.sigmoid() if are_scores else logits
    found = head._predict_by_feat_single(
        logits.to(device),
        draw_boxes(40).to(device),
        torch.arange(40, device=device) % 5,
        dict(ori_shape=SIZE, scale_factor=(1., 1.)),
        TEST_CFG,
        activate_map=are_scores)
    return found


@pytest.mark.parametrize('are_scores', [False, True])
def test_rle_masks_are_those_of_the_cpu(are_scores, device):
    cpu, other = (masks(d, True, are_scores) for d in ('cpu', device))
    assert other._masks.scores.device.type == device.type
    part = other[torch.arange(40, device=device) % 3 == 0]
    assert part._masks.scores.device.type == device.type
    if are_scores:  # no arithmetic on the device: equal to the last bit
        assert part.rles == cpu[::3].rles and other.rles == cpu.rles
    share = np.mean(cpu.numpy() != other.numpy())
    assert share <= 1e-4 and 0.001 < cpu.numpy().mean() < 0.9


def test_bitmaps_are_those_of_the_cpu(device):
    cpu, other = (masks(d, False, False) for d in ('cpu', device))
    assert other.device.type == device.type and cpu.any()
    # MMDetection alone draws bands through the image for boxes without
    # width: a share of 0.017.
    assert (cpu != other.cpu()).float().mean() <= 1e-4
