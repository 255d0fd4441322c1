"""The authors' loss and post-processing on hand-made cases."""
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

LOSSES = ('loss_06_extreme_pm40', 'loss_07_n1_tail', 'loss_08_n1_background',
          'loss_10_c7_mixed', 'loss_13_c7_with_box_loss',
          'loss_15_c7_lambda1_all_fg')
#: Images of the seven categories, of 100,000: the second is as frequent as
#: the threshold, and so not below it.
IMAGES = (50000, 177, 170, 0, 10000, 178, 1)


@pytest.fixture
def case(records):
    """Give the arrays of a case by their short names."""

    def read(name):
        arrays = {
            key.split('/')[1]: value
            for key, value in records('cases').items()
            if key.startswith(f'{name}/')
        }
        assert arrays
        return arrays

    return read


@pytest.fixture
def counts(tmp_path):
    """A counts file of seven categories."""
    path = tmp_path / 'counts.csv'
    rows = [f'{i},{i},f,{n},{n}' for i, n in enumerate(IMAGES, 1)]
    path.write_text('\n'.join([
        '# num_images: 100000', 'id,name,frequency,image_count,instance_count',
        *rows, ''
    ]))
    return str(path)


@pytest.fixture
def build_head(counts):
    """Build a box head for the seven or all categories."""

    def build(num_classes, threshold=1.77e-3):
        loss = dict(
            type='EqualizationLoss',
            frequency_source=counts if num_classes == 7 else 'lvis_v0.5',
            frequency_threshold=threshold)
        return MODELS.build(
            dict(
                type='EQLBBoxHead',
                num_classes=num_classes,
                in_channels=1,
                fc_out_channels=1,
                roi_feat_size=1,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_stds=[.1, .1, .2, .2]),
                loss_bbox=dict(type='L1Loss'),
                loss_cls=loss))

    return build


def losses_of(head, logits, labels, deltas=None, targets=None):
    """Call the head's own loss, as in training."""
    number = len(labels)
    nothing = torch.zeros(number, 4)
    foreground = (labels < head.num_classes).float()[:, None].expand(-1, 4)
    return head.loss(logits, deltas, nothing, labels, torch.ones(number),
                     nothing if targets is None else targets, foreground)


@pytest.mark.parametrize('name', LOSSES)
def test_loss_and_its_gradient_are_the_authors(case, build_head, name):
    recorded = case(name)
    logits = torch.from_numpy(recorded['logits']).requires_grad_()
    head = build_head(logits.shape[1], float(recorded['lambda_']))
    tail = head.loss_cls.tail_mask.numpy()
    assert np.array_equal(tail, recorded['threshold'])
    loss = losses_of(head, logits,
                     torch.from_numpy(recorded['gt_classes']))['loss_cls']
    assert loss.item() == pytest.approx(
        float(recorded['loss_cls_f64']), rel=2e-6)
    loss.backward()
    np.testing.assert_allclose(
        logits.grad, recorded['grad_logits'], rtol=2e-6, atol=1e-7)


def test_box_loss_is_theirs_with_the_last_category(case, build_head):
    """Theirs has no gradient for it: a slip that is not copied."""
    recorded = {
        k: torch.from_numpy(v)
        for k, v in case(LOSSES[4]).items() if v.dtype.kind in 'fi'
    }
    head, labels = build_head(7), recorded['gt_classes']
    deltas = recorded['deltas'].clone().requires_grad_()
    targets = head.bbox_coder.encode(recorded['proposal_boxes'],
                                     recorded['gt_boxes'])
    loss = losses_of(head, recorded['logits'], labels, deltas,
                     targets)['loss_bbox']
    assert loss.item() == pytest.approx(
        recorded['loss_box_reg_if_last_class_counted'].item(), rel=2e-6)
    loss.backward()
    rows = labels != 6
    torch.testing.assert_close(
        deltas.grad[rows], recorded['grad_deltas'][rows], rtol=1e-5, atol=1e-7)
    assert (recorded['grad_deltas'][~rows] == 0).all()
    assert (deltas.grad[~rows] != 0).sum() == 4 * (~rows).sum()


def detect(head, recorded):
    """Let the head decode and suppress."""
    boxes = torch.from_numpy(recorded['proposal_boxes'])
    return head._predict_by_feat_single(
        torch.nn.functional.pad(boxes, (1, 0)),
        torch.from_numpy(recorded['logits']),
        torch.from_numpy(recorded['deltas']),
        dict(img_shape=tuple(recorded['image_hw'].tolist())),
        rcnn_test_cfg=ConfigDict(
            score_thr=float(recorded['score_thresh']),
            nms=dict(type='nms', iou_threshold=float(recorded['nms_thresh'])),
            max_per_img=int(recorded['topk'])))


def assert_same_detections(found, recorded, rows=slice(None)):
    """Compare them in an order that no rounding changes."""
    ours, theirs = (
        table[np.lexsort(np.round(table[:, :3], 2).T)] for table in (
            np.column_stack([found.labels, found.bboxes, found.scores]),
            np.column_stack([
                recorded[f'exact_{key}'][rows]
                for key in ('classes', 'boxes', 'scores')
            ])))
    assert ours.shape == theirs.shape
    tolerance = [0, 2e-3, 2e-3, 2e-3, 2e-3, 3e-6]
    assert (np.abs(ours - theirs) <= tolerance).all()


@pytest.mark.parametrize('name, number', [
    ('post_c7', 300),
    ('post_c7_nonfinite', 300),
    ('post_c7_none', 0),
])
def test_detections_are_those_of_the_authors(case, build_head, name, number):
    """Rows that are not finite are dropped; logits of infinity are scores."""
    recorded = case(name)
    found = detect(build_head(7), recorded)
    assert len(found) == number
    assert_same_detections(found, recorded)


def test_only_boxes_that_shrink_beyond_measure_differ(case, build_head):
    """Proposals 1 and 2, by exp(-40) and exp(-25): docs/recipe.md, 10."""
    recorded, head = case('post_c7_limits'), build_head(7)
    found = detect(head, recorded)
    assert sorted(found.labels.tolist()) == sorted(
        recorded['exact_classes'].tolist())
    others = np.delete(np.arange(60), [1, 2])
    for name in ('logits', 'deltas', 'proposal_boxes'):
        recorded[name] = recorded[name][others]
    rows = np.isin(recorded['exact_proposal'], others)
    assert (~rows).sum() == 14
    assert_same_detections(detect(head, recorded), recorded, rows)
