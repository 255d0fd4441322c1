"""What every loss of a box head promises, loss by loss."""
import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

R, K = 18, 5
SIGMOID = dict(
    EqualizationLoss=dict(frequency_threshold=0.05),
    FederatedLoss=dict(num_sampled=4))
SOFTMAX = dict(
    SoftmaxEqualizationLoss=dict(frequency_threshold=0.05, gamma=1.),
    BalancedSoftmaxLoss=dict(),
    ClassWeightedLoss=dict(power=0.5))
COUNTING = {**SIGMOID, **SOFTMAX}
OTHERS = dict(EqualizationLossV2=dict(), SyncSeesawLoss=dict())
#: Whose outputs start at the prior.
STARTING = (*SIGMOID, 'EqualizationLossV2')
#: The host's name for the weights of RoIs.
SEESAW_WEIGHT = dict(SyncSeesawLoss='label_weights')
CHANNELS = {
    **dict.fromkeys(SIGMOID, K),
    **dict.fromkeys(SOFTMAX, K + 1), 'EqualizationLossV2': K + 1,
    'SyncSeesawLoss': K + 2
}


def settings(name, source):
    """The config of a loss: its type, and what it cannot do without."""
    if name in OTHERS:
        return dict(type=name, **OTHERS[name])
    return dict(type=name, frequency_source=source, **COUNTING[name])


def build(name, source, **kwargs):
    loss = MODELS.build({**settings(name, source), **kwargs})
    assert loss.get_cls_channels(K) == CHANNELS[name]
    return loss


def build_head(name, source):
    return MODELS.build(
        dict(
            type='EQLBBoxHead',
            num_classes=K,
            in_channels=8,
            roi_feat_size=3,
            fc_out_channels=16,
            loss_cls=settings(name, source)))


def total(values):
    values = values.values() if isinstance(values, dict) else [values]
    return sum(v for v in values)


def make_batch(columns):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(R, columns, generator=generator)
    return logits, torch.arange(R) % (K + 1)


def value_and_gradient(loss, logits, labels, **kwargs):
    torch.manual_seed(0)
    logits = logits.detach().clone().requires_grad_()
    value = total(loss(logits, labels, **kwargs))
    value.sum().backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('avg_factor', [None, 3.])
def test_empty_batch_gives_zero_with_a_gradient(name, avg_factor, counts_file):
    value, gradient = value_and_gradient(
        build(name, counts_file),
        torch.zeros(0, CHANNELS[name]),
        torch.zeros(0).long(),
        avg_factor=avg_factor)
    assert value == 0 and gradient.shape == (0, CHANNELS[name])


@pytest.mark.parametrize('name', CHANNELS)
def test_all_background_is_finite_and_teaches(name, counts_file):
    logits, labels = make_batch(CHANNELS[name])
    value, gradient = value_and_gradient(
        build(name, counts_file), logits, torch.full_like(labels, K))
    assert value > 0 and torch.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize('name', CHANNELS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype, counts_file):
    loss = build(name, counts_file)
    half, labels = make_batch(CHANNELS[name])
    half = half.to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, half, labels)
        scores = loss.get_activation(half)
    assert value.dtype == scores.dtype == torch.float32
    assert gradient.dtype == dtype
    expected, full = value_and_gradient(
        build(name, counts_file), half.float(), labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, full.to(dtype))


@pytest.mark.parametrize('name', COUNTING)
def test_a_model_in_half_precision_still_has_a_loss_in_float32(
        name, counts_file):
    logits, labels = make_batch(CHANNELS[name])
    half = build(name, counts_file).half()
    value, gradient = value_and_gradient(half, logits.half(), labels)
    assert value.dtype == torch.float32 and gradient.dtype == torch.float16
    expected, _ = value_and_gradient(build(name, counts_file), logits, labels)
    torch.testing.assert_close(value, expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize('name', CHANNELS)
def test_zero_weights_and_avg_factor_act_on_rois(name, counts_file):
    logits, labels = make_batch(CHANNELS[name])
    weight = (torch.arange(R) % 4 > 0).float()
    results = [
        value_and_gradient(
            build(name, counts_file, loss_weight=factor),
            logits,
            labels,
            **{SEESAW_WEIGHT.get(name, 'weight'): weight},
            avg_factor=divisor) for factor, divisor in [(1., 5.), (2., 20.)]
    ]
    for one, half in zip(*results):
        torch.testing.assert_close(half, one / 2)
    gradient = results[0][1]
    assert (gradient[weight == 0] == 0).all()
    assert gradient[weight > 0].any(dim=1).all()


@pytest.mark.parametrize('name', COUNTING)
def test_reductions_agree(name, counts_file):
    logits, labels = make_batch(CHANNELS[name])
    loss = build(name, counts_file)
    rows, mean, added = (
        value_and_gradient(loss, logits, labels, reduction_override=r)[0]
        for r in ('none', 'mean', 'sum'))
    assert rows.shape == (R, )
    torch.testing.assert_close(mean, rows.mean())
    torch.testing.assert_close(added, rows.sum())
    with pytest.raises(ValueError, match="reduction_override.*'max'"):
        loss(logits, labels, reduction_override='max')


@pytest.mark.parametrize('name', COUNTING)
def test_it_runs_on_meta_and_keeps_nothing_of_the_counts(name, counts_file):
    loss = build(name, counts_file)
    assert not loss.state_dict()
    logits, labels = (t.to('meta') for t in make_batch(CHANNELS[name]))
    logits.requires_grad_()
    loss.to('meta')(logits, labels, avg_factor=4.).backward()
    assert logits.grad.shape == (R, CHANNELS[name])
    assert loss.get_activation(logits).shape == (R, K + 1)


@pytest.mark.parametrize('name', ['BalancedSoftmaxLoss', 'ClassWeightedLoss'])
def test_compiled_it_is_the_same(name, counts_file):
    loss = build(name, counts_file)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    batch = make_batch(CHANNELS[name])
    torch.testing.assert_close(
        value_and_gradient(compiled, *batch, avg_factor=4.),
        value_and_gradient(loss, *batch, avg_factor=4.))


@pytest.mark.parametrize('name', CHANNELS)
def test_one_line_in_the_config_trains_and_tests(name, counts_file):
    head = build_head(name, counts_file)
    head.init_weights()
    expected = 6.9 if name in STARTING else 0.
    assert head.fc_cls.bias.tolist() == pytest.approx(
        [-expected] * CHANNELS[name], abs=0.01)
    cls_score, bbox_pred = head(torch.randn(3, 8, 3, 3))
    losses = head.loss(
        cls_score,
        bbox_pred,
        rois=torch.zeros(3, 5),
        labels=torch.tensor([1, 0, K]),
        label_weights=torch.ones(3),
        bbox_targets=torch.zeros(3, 4),
        bbox_weights=torch.tensor([1., 1., 0.])[:, None].expand(3, 4))
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert torch.isfinite(head.fc_cls.weight.grad).all()
    assert head.fc_cls.weight.grad.any() and 'acc_classes' in losses
    logits = torch.full((1, CHANNELS[name]), -9.)
    logits[0, 1] = 9.
    if name == 'SyncSeesawLoss':
        logits[0, K] = 9.  # an object
    result, = head.predict_by_feat(
        rois=(torch.tensor([[0., 0., 0., 10., 10.]]), ),
        cls_scores=(logits, ),
        bbox_preds=(torch.zeros(1, 4 * K), ),
        batch_img_metas=[dict(img_shape=(40, 40))],
        rcnn_test_cfg=ConfigDict(
            score_thr=0.5,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=9))
    assert result.labels.tolist() == [1]


@pytest.mark.parametrize('name', CHANNELS)
def test_a_batch_without_rois_reaches_the_loss_through_the_head(
        name, counts_file):
    head = build_head(name, counts_file)
    features = torch.randn(0, 8, 3, 3, requires_grad=True)
    cls_score, bbox_pred = head(features)
    losses = head.loss(cls_score, bbox_pred, torch.zeros(0, 5),
                       torch.zeros(0).long(), torch.zeros(0),
                       torch.zeros(0, 4), torch.zeros(0, 4))
    wanted = [v for k, v in losses.items() if 'loss_cls' in k]
    assert wanted and all(v == 0 and v.requires_grad for v in wanted)


@pytest.mark.parametrize('name', CHANNELS)
def test_a_copy_after_a_step_goes_on_alike(name, counts_file):
    loss, batch = build(name, counts_file), make_batch(CHANNELS[name])
    value_and_gradient(loss, *batch)
    copied = copy.deepcopy(loss)
    for one, other in zip(
            value_and_gradient(loss, *batch),
            value_and_gradient(copied, *batch)):
        assert torch.equal(one, other)


@pytest.mark.parametrize('name', COUNTING)
def test_without_its_source_it_scores_but_does_not_train(name):
    loss = build(name, 'nowhere.json')
    logits, labels = make_batch(CHANNELS[name])
    assert loss.get_activation(logits).shape == (R, K + 1)
    assert 0 <= loss.get_accuracy(logits, labels)['acc_classes'] <= 100
    assert 'source=nowhere.json' in repr(loss)
    with pytest.raises(ValueError, match='frequency_source="nowhere.json"'):
        loss(logits, labels)


@pytest.mark.parametrize('name', COUNTING)
def test_wrong_shapes_and_numbers_name_both_sides(name, counts_file):
    loss = build(name, counts_file)
    with pytest.raises(ValueError, match='num_classes=80.* 5 categories'):
        loss.get_cls_channels(80)
    with pytest.raises(ValueError, match=r'\(18, 9\)'):
        loss(torch.zeros(R, 9), torch.zeros(R).long())
