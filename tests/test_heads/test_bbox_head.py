"""EQLBBoxHead: initialisation, layouts, the contract, one step, one image."""
import math
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict

K = 4


@pytest.fixture
def loss_cls(tmp_path):
    path = tmp_path / 'counts.csv'
    path.write_text('# num_images: 100\n'
                    'id,name,frequency,image_count,instance_count\n'
                    '1,a,r,1,1\n2,b,f,80,99\n3,c,r,3,3\n4,d,c,40,41\n')
    return dict(
        type='EqualizationLoss',
        frequency_source=str(path),
        frequency_threshold=0.05)


def build(loss_cls, **kwargs):
    kwargs = {
        'num_classes': K,
        'in_channels': 8,
        'roi_feat_size': 3,
        'fc_out_channels': 16,
        **kwargs
    }
    return MODELS.build(dict(type='EQLBBoxHead', loss_cls=loss_cls, **kwargs))


def test_classifier_starts_at_the_prior_and_the_rest_as_in_the_host(loss_cls):
    head = build(loss_cls, fc_out_channels=512)
    head.init_weights()
    assert head.fc_cls.weight.shape == (K, 512)
    torch.testing.assert_close(head.fc_cls.bias,
                               torch.full((K, ), -math.log(999.)))
    assert head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.1)
    host = Shared2FCBBoxHead(
        num_classes=K, in_channels=8, roi_feat_size=3, fc_out_channels=512)
    host.init_weights()
    for ours, theirs in [(head.fc_reg, host.fc_reg),
                         (head.shared_fcs[0], host.shared_fcs[0])]:
        assert ours.weight.std().item() == pytest.approx(
            theirs.weight.std().item(), rel=0.1)
        assert (ours.bias == 0).all() and (theirs.bias == 0).all()


def test_prior_prob_sets_the_first_scores(loss_cls):
    head = build(loss_cls, prior_prob=0.02)
    head.init_weights()
    scores = head.loss_cls.get_activation(head.fc_cls.bias[None])
    torch.testing.assert_close(scores[0, :K], torch.full((K, ), 0.02))


@pytest.mark.parametrize('init_cfg', [
    dict(type='Constant', val=0.5, layer='Linear'),
    [dict(type='Constant', val=0.5, layer='Linear')],
])
def test_prior_holds_whatever_init_cfg_says(loss_cls, init_cfg):
    head = build(loss_cls, prior_prob=0.02, init_cfg=init_cfg)
    head.init_weights()
    assert (head.fc_reg.weight == 0.5).all()
    torch.testing.assert_close(head.fc_cls.bias.sigmoid(),
                               torch.full((K, ), 0.02))


def test_only_sigmoids_start_at_the_prior(loss_cls, monkeypatch):
    monkeypatch.setattr(
        'eql_mmdet.losses.equalization.EqualizationLoss.get_sigmoid_channels',
        lambda self, num_classes: slice(1, 3))
    head = build(loss_cls)
    head.init_weights()
    prior = -math.log(999.)
    torch.testing.assert_close(head.fc_cls.bias.detach(),
                               torch.tensor([0., prior, prior, 0.]))
    monkeypatch.setattr(
        'eql_mmdet.losses.equalization.EqualizationLoss.get_sigmoid_channels',
        lambda self, num_classes: slice(0))
    head = build(loss_cls)
    head.init_weights()
    assert not head.fc_cls.bias.any()


@pytest.mark.parametrize('layout', [
    dict(),
    dict(num_shared_fcs=1, num_shared_convs=2, conv_out_channels=8),
    dict(
        num_shared_fcs=0, num_cls_fcs=1, num_reg_convs=1, conv_out_channels=8),
    dict(cls_predictor_cfg=dict(type='NormedLinear')),
])
def test_layouts_of_the_host_work(loss_cls, layout):
    head = build(loss_cls, **layout)
    head.init_weights()
    cls_score, bbox_pred = head(torch.randn(6, 8, 3, 3))
    assert cls_score.shape == (6, K) and bbox_pred.shape == (6, 4 * K)


def gradient_of_a_step(head):
    """Train two objects and the background; return that of the logits."""
    cls_score, bbox_pred = head(torch.randn(3, 8, 3, 3))
    cls_score.retain_grad()
    losses = head.loss(
        cls_score,
        bbox_pred,
        rois=torch.zeros(3, 5),
        labels=torch.tensor([1, 0, K]),
        label_weights=torch.ones(3),
        bbox_targets=torch.zeros(3, 4),
        bbox_weights=torch.tensor([1., 1., 0.])[:, None].expand(3, 4))
    assert set(losses) == {'loss_cls', 'loss_bbox', 'acc_classes'}
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    return cls_score.grad


def test_one_training_step_protects_the_tail(loss_cls):
    head = build(loss_cls)
    head.init_weights()
    zero = gradient_of_a_step(head) == 0
    assert zero.tolist() == [[True, False, True, False],
                             [False, False, True, False], [False] * 4]


@pytest.fixture
def sampled():
    """Logits, deltas and RoIs of two images, as the RoI heads pass them."""
    labels = [torch.tensor([1, 0]), torch.tensor([3])]
    boxes = torch.tensor([[0., 0., 9., 9.]])
    results = [
        SimpleNamespace(
            pos_priors=boxes.repeat(len(y), 1),
            neg_priors=boxes.repeat(2, 1),
            pos_gt_bboxes=boxes.repeat(len(y), 1) + 1,
            pos_gt_labels=y) for y in labels
    ]
    rois = bbox2roi([torch.cat([r.pos_priors, r.neg_priors]) for r in results])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, K, generator=generator).requires_grad_()
    deltas = torch.randn(7, 4 * K, generator=generator)
    config = ConfigDict(pos_weight=-1)
    return dict(
        cls_score=logits,
        bbox_pred=deltas,
        rois=rois,
        sampling_results=results,
        rcnn_train_cfg=config)


def test_verified_sets_reach_the_loss_image_by_image(loss_cls, sampled):
    results = sampled['sampling_results']
    results[0].verified_labels, results[1].verified_labels = [0, 1, 2], []
    head = build(dict(loss_cls, keep_verified=True))
    found = head.loss_and_target(**sampled)
    found['loss_bbox']['loss_cls'].backward()
    # Categories 0 and 2 are tail. The first image keeps both.
    zero = sampled['cls_score'].grad == 0
    assert zero.nonzero().tolist() == [[4, 0], [4, 2]]
    plain = build(loss_cls).loss_and_target(**sampled)
    rest = plain['loss_bbox'].keys() - {'loss_cls'}
    assert plain['loss_bbox'].keys() == found['loss_bbox'].keys()
    assert all(
        torch.equal(found['loss_bbox'][k], plain['loss_bbox'][k])
        for k in rest)
    targets = zip(found['bbox_targets'], plain['bbox_targets'])
    assert all(torch.equal(a, b) for a, b in targets)


def test_empty_sets_give_the_loss_without_the_rule(loss_cls, sampled):
    for result in sampled['sampling_results']:
        result.verified_labels = []
    rule = build(dict(loss_cls, keep_verified=True))
    losses = [
        head.loss_and_target(**sampled)['loss_bbox']['loss_cls']
        for head in (rule, build(loss_cls))
    ]
    torch.testing.assert_close(*losses)


def test_sets_that_do_not_arrive_are_named(loss_cls, sampled):
    head = build(dict(loss_cls, keep_verified=True))
    with pytest.raises(ValueError, match='VerifiedRandomSampler'):
        head.loss_and_target(**sampled)


def test_softmax_eql_trains_and_tests_in_the_box_head_of_the_host(loss_cls):
    loss_cls = dict(loss_cls, type='SoftmaxEqualizationLoss', gamma=1.)
    head = Shared2FCBBoxHead(
        num_classes=K,
        in_channels=8,
        roi_feat_size=3,
        fc_out_channels=16,
        loss_cls=loss_cls)
    gradient = gradient_of_a_step(head)
    assert gradient.shape == (3, K + 1)
    # Without E(r), and never the background.
    assert (gradient == 0).nonzero().tolist() == [[0, 0], [0, 2], [1, 2],
                                                  [2, 0], [2, 2]]
    result, = head.predict_by_feat(
        rois=(torch.tensor([[0., 0., 0., 10., 10.]]), ),
        cls_scores=(torch.tensor([[1., -9., -9., -9., 2.]]), ),
        bbox_preds=(torch.zeros(1, 4 * K), ),
        batch_img_metas=[dict(img_shape=(40, 40))],
        rcnn_test_cfg=ConfigDict(
            score_thr=0.1,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=9))
    assert result.labels.tolist() == [0]
    assert result.scores.item() == pytest.approx(1 / (1 + math.e), abs=1e-4)


def test_test_time_scores_are_sigmoids(loss_cls):
    head = build(loss_cls)
    rois = torch.tensor([[0., 0., 0., 10., 10.], [0., 20., 20., 30., 30.]])
    logits = torch.tensor([[3., -9., -9., -9.], [-9., -9., -9., 1.]])
    cfg = ConfigDict(
        score_thr=0.5, nms=dict(type='nms', iou_threshold=0.5), max_per_img=9)
    result, = head.predict_by_feat(
        rois=(rois, ),
        cls_scores=(logits, ),
        bbox_preds=(torch.zeros(2, 4 * K), ),
        batch_img_metas=[dict(img_shape=(40, 40))],
        rcnn_test_cfg=cfg)
    assert result.labels.tolist() == [0, 3]
    torch.testing.assert_close(result.scores, torch.tensor([3., 1.]).sigmoid())
    torch.testing.assert_close(result.bboxes, rois[:, 1:])


@pytest.mark.parametrize('loss, message', [
    (dict(type='CrossEntropyLoss'), 'CrossEntropyLoss lacks custom_cls'),
    (dict(type='EQLV2Loss', num_classes=K), 'EQLV2Loss lacks custom_cls'),
    (dict(type='SeesawLoss',
          num_classes=K), 'lacks get_sigmoid_channels; use'),
])
def test_losses_the_host_would_decode_wrongly_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        build(loss)


def test_loss_with_half_a_contract_is_refused(loss_cls, monkeypatch):
    monkeypatch.setattr(
        'eql_mmdet.losses.equalization.EqualizationLoss.custom_activation',
        False)
    with pytest.raises(ValueError, match='lacks custom_activation'):
        build(loss_cls)


def test_wrong_number_of_classes_names_both_sides(loss_cls):
    with pytest.raises(ValueError, match='num_classes=80.* 4 categories'):
        build(loss_cls, num_classes=80)


@pytest.mark.parametrize('prior', [0, 1, -0.1])
def test_prior_out_of_range_is_named(loss_cls, prior):
    with pytest.raises(ValueError, match=rf'in \(0, 1\), but got {prior}'):
        build(loss_cls, prior_prob=prior)
