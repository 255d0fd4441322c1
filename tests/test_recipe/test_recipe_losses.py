"""The losses of the LVIS recipe against plain loops over their samples."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

K = 1230


def iou(a, b):
    left, right = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = np.prod(np.maximum(right - left, 0))
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def deltas(box, target, weights=(1, 1, 1, 1)):
    size, goal = box[2:] - box[:2], target[2:] - target[:2]
    shift = ((target[:2] + goal / 2) - (box[:2] + size / 2)) / size
    return np.concatenate([shift, np.log(goal / size)]) * weights


def objects_of(boxes):
    return [
        InstanceData(
            bboxes=torch.tensor(b).float(),
            labels=torch.zeros(len(b), dtype=torch.long)) for b in boxes
    ]


def test_rpn_loss_is_divided_by_256_per_image_and_tiny_objects_count(model):
    objects = [
        np.array([[20., 24., 27., 30.]]),
        np.array([[30., 20., 100., 90.], [100., 100., 110., 108.]])
    ]
    sizes = [(32 >> i, 32 >> i) for i in range(5)]
    anchors = torch.cat(
        model.rpn_head.prior_generator.grid_priors(sizes,
                                                   device='cpu')).numpy()
    total, best = 0, []
    for boxes in objects:
        overlaps = np.array([[iou(a, b) for a in anchors] for b in boxes])
        best += overlaps.max(1).tolist()
        positive = (overlaps >= 0.7).any(0)
        positive |= (overlaps == overlaps.max(1, keepdims=True)).any(0)
        for index in np.flatnonzero(positive):
            gt = boxes[overlaps[:, index].argmax()]
            total += np.abs(deltas(anchors[index], gt)).sum()
    assert min(best) < 0.1  # no anchor comes near the smallest object
    losses = model.rpn_head.loss_by_feat(
        [torch.zeros(2, 3, h, w)
         for h, w in sizes], [torch.zeros(2, 12, h, w) for h, w in sizes],
        objects_of(objects),
        [dict(img_shape=(128, 128), pad_shape=(128, 128))] * 2)
    assert sum(losses['loss_rpn_cls']).item() == pytest.approx(math.log(2))
    assert sum(losses['loss_rpn_bbox']).item() == pytest.approx(
        total / (2 * 256), rel=1e-4)


@pytest.fixture
def sampled():
    """Twelve RoIs of two images, one of them of the last category."""
    rng = np.random.RandomState(0)
    corners = rng.uniform(0, 100, (12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 90, (12, 2))], 1)
    targets = boxes + rng.uniform(-2, 2, boxes.shape)
    labels = [[0, K - 1, 7], [500, 3]]
    results, start = [], 0
    for image, count in zip(labels, (7, 5)):
        rois, goal = (
            torch.tensor(x[start:start + count]).float()
            for x in (boxes, targets))
        n = len(image)
        results.append(
            SimpleNamespace(
                pos_priors=rois[:n],
                neg_priors=rois[n:],
                pos_gt_bboxes=goal[:n],
                pos_gt_labels=torch.tensor(image)))
        start += count
    return results


def test_box_head_losses_are_sums_over_the_number_of_rois(model, sampled):
    head = model.roi_head.bbox_head
    torch.manual_seed(0)
    logits = torch.randn(12, head.fc_cls.out_features, dtype=torch.float64)
    boxes = torch.randn(12, 4 * K)
    losses = head.loss_and_target(logits.float(), boxes, None, sampled,
                                  model.train_cfg.rcnn)['loss_bbox']
    cls = box = row = 0
    for result in sampled:
        for i in range(len(result.pos_priors) + len(result.neg_priors)):
            foreground = i < len(result.pos_priors)
            label = int(result.pos_gt_labels[i]) if foreground else K
            cls += row_loss(logits[row], label, head)
            if foreground:
                target = deltas(result.pos_priors[i].double().numpy(),
                                result.pos_gt_bboxes[i].double().numpy(),
                                (10, 10, 5, 5))
                prediction = boxes[row, 4 * label:4 * label + 4].numpy()
                box += np.abs(prediction - target).sum()
            row += 1
    assert losses['loss_cls'].item() == pytest.approx(cls / 12, rel=1e-5)
    assert losses['loss_bbox'].item() == pytest.approx(box / 12, rel=1e-4)


def row_loss(logits, label, head):
    if len(logits) == K + 1:
        return -torch.log_softmax(logits, 0)[label].item()
    target = F.one_hot(torch.tensor(label), K + 1)[:K].bool()
    loss = torch.where(target, F.softplus(-logits), F.softplus(logits))
    protected = head.loss_cls.tail_mask.bool() & ~target & (label < K)
    assert protected.sum() in (0, 914, 915)
    return loss[~protected].sum().item()


def test_mask_loss_is_the_mean_over_the_pixels_of_the_right_category(model):
    head = model.roi_head.mask_head
    torch.manual_seed(0)
    logits = torch.randn(5, K, 28, 28)
    target = torch.rand(5, 28, 28).round()
    labels = torch.tensor([0, 3, K - 1, 3, 700])
    total = sum(
        F.softplus(z if t == 0 else -z).item() for i, k in enumerate(labels)
        for z, t in zip(logits[i, k].flatten(), target[i].flatten()))
    loss = head.loss_mask(logits, target, labels)
    assert loss.item() == pytest.approx(total / (5 * 28 * 28), rel=1e-4)
