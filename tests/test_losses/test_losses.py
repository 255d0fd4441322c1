"""EqualizationLoss: settings, reductions and the contract with the host."""
import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyCustomLoss, CrossEntropyLoss
from mmdet.registry import MODELS
from mmengine.logging import MMLogger

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.losses.functional import (equalization_loss,
                                         softmax_equalization_loss)

R, K = 16, 5


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(R, K, generator=generator)
    return logits, torch.randint(0, K + 1, (R, ), generator=generator)


def build(source, **kwargs):
    kwargs = {'frequency_threshold': 0.05, **kwargs}
    return MODELS.build(
        dict(type='EqualizationLoss', frequency_source=source, **kwargs))


def test_threshold_protects_strictly_rarer_categories(counts_file):
    assert build(counts_file).tail_mask.tolist() == [1, 0, 1, 0, 1]
    exact = build(counts_file, frequency_threshold=0.03)
    assert exact.tail_mask.tolist() == [1, 0, 0, 0, 1]


def test_tail_ratio_chooses_the_threshold(counts_file):
    loss = build(counts_file, frequency_threshold=None, tail_ratio=0.03)
    assert loss.tail_mask.tolist() == [1, 0, 0, 0, 1]  # 3 / 126


def test_num_images_changes_the_denominator(counts_file):
    assert build(counts_file, num_images=1000).tail_mask.sum() == 4


def test_without_tail_equals_the_sigmoid_loss_of_the_host(counts_file, batch):
    logits, labels = batch
    host = CrossEntropyCustomLoss(use_sigmoid=True, num_classes=K)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weight = torch.linspace(0, 2, R)
    loss = build(
        counts_file, frequency_threshold=0., loss_weight=0.7)(
            a, labels, weight, avg_factor=R)
    expected = 0.7 * host(b, labels, weight, avg_factor=R)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize('decay, formula', [
    (dict(type='exponential', a=20, n=2), lambda f: max(0, 1 - (20 * f)**2)),
    (dict(type='gompertz', a=1, b=9,
          c=90), lambda f: 1 - math.exp(-9 * math.exp(-90 * f))),
])
def test_decay_weighs_every_category(counts_file, batch, decay, formula):
    loss = build(counts_file, frequency_threshold=None, decay=decay)
    expected = [formula(n / 100) for n in (1, 80, 3, 40, 2)]
    assert loss.tail_mask.tolist() == pytest.approx(expected, abs=1e-6)
    assert 0 < loss.tail_mask[2] < 1
    rows = equalization_loss(*batch, loss.tail_mask).sum(1)
    torch.testing.assert_close(loss(*batch), rows.mean())


def test_without_exclusion_equals_the_definition(counts_file, batch):
    loss = build(counts_file, exclude_background=False)
    rows = equalization_loss(
        *batch, loss.tail_mask, exclude_background=False).sum(1)
    torch.testing.assert_close(loss(*batch), rows.mean())
    assert loss(*batch) < build(counts_file)(*batch)


def test_verified_categories_keep_their_weight(counts_file, batch):
    loss = build(counts_file, keep_verified=True)
    verified = torch.tensor([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0]]).bool()
    image_index = torch.arange(R) % 2
    by_roi = loss.tail_mask * ~verified[image_index]
    rows = equalization_loss(*batch, by_roi).sum(1)
    result = loss(*batch, verified=verified, image_index=image_index)
    torch.testing.assert_close(result, rows.mean())
    everything = loss(
        *batch, verified=torch.ones(2, K).bool(), image_index=image_index)
    bce = build(counts_file, frequency_threshold=0.)(*batch)
    torch.testing.assert_close(everything, bce)


@pytest.mark.slow
def test_rule_of_verified_categories_compiles_and_runs_on_meta(
        counts_file, batch):
    loss = build(counts_file, keep_verified=True)
    sets = dict(
        verified=torch.tensor([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0]]).bool(),
        image_index=torch.arange(R) % 2)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(
        compiled(*batch, avg_factor=4.0, **sets),
        loss(*batch, avg_factor=4.0, **sets))
    logits, labels = (t.to('meta') for t in batch)
    sets = {key: value.to('meta') for key, value in sets.items()}
    logits.requires_grad_()
    loss.to('meta')(logits, labels, avg_factor=4.0, **sets).backward()
    assert logits.grad.shape == (R, K)


def test_softmax_loss_under_bf16_autocast_is_float32(counts_file):
    loss = build_softmax(counts_file, gamma=1.)
    x, labels = torch.randn(R, 3), torch.arange(R) % (K + 1)
    weight = torch.randn(K + 1, 3, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = torch.nn.functional.linear(x, weight)
        result = loss(half, labels)
    assert half.dtype == torch.bfloat16 and result.dtype == torch.float32
    torch.testing.assert_close(result, loss(half.float(), labels))
    result.backward()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize('keep, sets, message', [
    (True, dict(), 'keep_verified=True got 0'),
    (True, dict(verified=torch.ones(1, K).bool()), 'keep_verified=True got 1'),
    (False, dict(image_index=torch.zeros(R).long()),
     'keep_verified=False got 1'),
    (True,
     dict(verified=torch.ones(1, 1).bool(), image_index=torch.zeros(R).long()),
     r'verified \(N, 5\), but got \(1, 1\)'),
])
def test_sets_that_do_not_arrive_are_named(counts_file, batch, keep, sets,
                                           message):
    with pytest.raises(ValueError, match=message):
        build(counts_file, keep_verified=keep)(*batch, **sets)


@pytest.mark.parametrize('override', [None, 'none', 'sum', 'mean'])
@pytest.mark.parametrize('weighted', [False, True])
def test_reductions_equal_arithmetic(counts_file, batch, override, weighted):
    logits, labels = batch
    loss = build(counts_file, loss_weight=2.0)
    weight = torch.linspace(0, 1, R) if weighted else torch.ones(R)
    rows = 2 * weight * equalization_loss(logits, labels,
                                          loss.tail_mask).sum(1)
    expected = {'none': rows, 'sum': rows.sum()}.get(override, rows.sum() / R)
    result = loss(
        logits,
        labels,
        weight if weighted else None,
        reduction_override=override)
    torch.testing.assert_close(result, expected)


def test_avg_factor_replaces_the_number_of_rois(counts_file, batch):
    loss = build(counts_file)
    total = loss(*batch, reduction_override='sum')
    torch.testing.assert_close(loss(*batch, avg_factor=3.0), total / 3)


@pytest.mark.parametrize('avg_factor', [None, 1.0])
def test_empty_batch_gives_zero_with_a_gradient(counts_file, avg_factor):
    logits = torch.zeros(0, K, requires_grad=True)
    loss = build(counts_file)(
        logits, torch.zeros(0).long(), avg_factor=avg_factor)
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, K)


def test_loss_runs_on_meta_and_compiles(counts_file, batch):
    loss = build(counts_file)
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(
        compiled(*batch, avg_factor=4.0), loss(*batch, avg_factor=4.0))
    logits = torch.empty(R, K, device='meta', requires_grad=True)
    labels = torch.empty(R, device='meta', dtype=torch.long)
    loss.to('meta')(logits, labels, avg_factor=4.0).backward()
    assert logits.grad.shape == (R, K)


def test_tail_mask_follows_the_model_but_not_the_checkpoint(counts_file):
    loss = build(counts_file)
    assert not loss.state_dict()
    assert loss.to('meta').tail_mask.device.type == 'meta'


def test_contract_with_the_host(counts_file, batch):
    loss = build(counts_file)
    logits, labels = batch
    host = CrossEntropyCustomLoss(use_sigmoid=True, num_classes=K)
    assert loss.get_cls_channels(K) == host.get_cls_channels(K) == K
    torch.testing.assert_close(
        loss.get_activation(logits)[:, :K],
        host.get_activation(logits)[:, :K])
    torch.testing.assert_close(
        loss.get_accuracy(logits, labels)['acc_classes'],
        host.get_accuracy(logits, labels)['acc_classes'][0])


def test_build_logs_protected_categories_and_tail_ratio(monkeypatch):
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'log', lambda level, msg: lines.append(msg))
    build('lvis_v0.5', frequency_threshold=1.77e-3)
    assert ('EqualizationLoss protects 915 of 1230 categories of lvis_v0.5 '
            '(frequency < 0.00177), tail ratio 9.09 %') in lines


@pytest.mark.parametrize('settings, message', [
    (dict(tail_ratio=0.1), 'exactly one of frequency_threshold'),
    (dict(decay=dict(type='exponential', a=9, n=2)), 'exactly one of'),
    (dict(frequency_threshold=None, decay=dict(type='step')), '"type"'),
    (dict(frequency_threshold=None), 'exactly one of frequency_threshold'),
    (dict(frequency_threshold=1.5), r'in \[0, 1\], but got 1.5'),
    (dict(frequency_threshold=-0.1), r'in \[0, 1\], but got -0.1'),
    (dict(frequency_threshold=float('nan')), r'in \[0, 1\], but got nan'),
    (dict(frequency_threshold=None, tail_ratio=1.2), r'\(0, 1\], but got 1.2'),
    (dict(frequency_threshold=None, tail_ratio=1e-6), 'at least 0.00794'),
    (dict(num_images=10), 'num_images of at least 80'),
    (dict(reduction='max'), "but got 'max'"),
    (dict(frequency_source='lvis_v2'), '"lvis_v2"'),
])
def test_wrong_settings_are_named(counts_file, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**{
            'source': settings.pop('frequency_source', counts_file),
            **settings
        })


def test_wrong_number_of_categories_names_both_sides(counts_file):
    with pytest.raises(ValueError, match='num_classes=80.* 5 categories'):
        build(counts_file).get_cls_channels(80)


def test_wrong_reduction_override_is_named(counts_file, batch):
    with pytest.raises(ValueError, match="reduction_override.*'max'"):
        build(counts_file)(*batch, reduction_override='max')


@pytest.fixture
def source_with_unicorn(tmp_path):
    path = tmp_path / 'empty.csv'
    path.write_text('# num_images: 9\n'
                    'id,name,frequency,image_count,instance_count\n'
                    '1,cat,r,5,5\n2,unicorn,r,0,0\n')
    return str(path)


def test_category_without_image_is_the_rarest_and_named(
        source_with_unicorn, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    loss = build(source_with_unicorn, frequency_threshold=0.5)
    logger.removeHandler(caplog.handler)
    assert loss.tail_mask.tolist() == [0, 1]
    assert '1 categories have no training image: unicorn' in caplog.text


def test_classes_choose_and_order_the_categories(source_with_unicorn):
    loss = build(
        source_with_unicorn,
        frequency_threshold=0.5,
        classes=('unicorn', 'cat'))
    assert loss.tail_mask.tolist() == [1, 0]
    assert loss.get_cls_channels(2) == 2
    assert build(source_with_unicorn, classes=['cat']).classes == ('cat', )
    with pytest.raises(ValueError, match='"dog" is not among .* cat, unicorn'):
        build(source_with_unicorn, classes=('dog', 'cat'))
    with pytest.raises(TypeError, match=r'write \("cat", \)'):
        build(source_with_unicorn, classes='cat')


def test_without_its_source_a_loss_scores_but_does_not_train(batch):
    loss = build('nowhere.json')
    scores, labels = batch[:2]
    classes = scores.shape[1]
    assert loss.get_cls_channels(classes) == classes
    assert loss.get_activation(scores).shape == (len(scores), classes + 1)
    assert 0 <= loss.get_accuracy(scores, labels)['acc_classes'] <= 100
    assert 'protected=unknown' in repr(loss)
    with pytest.raises(ValueError, match='frequency_source="nowhere.json"'):
        loss(*batch)


def test_a_softmax_loss_without_its_source_scores_too(detections):
    loss = build_softmax('nowhere.json')
    logits, labels = detections[:2]
    assert loss.get_activation(logits).sum(dim=1).allclose(torch.ones(1))
    assert 0 <= loss.get_accuracy(logits, labels)['acc_classes'] <= 100
    with pytest.raises(ValueError, match='frequency_source="nowhere.json"'):
        loss(logits, labels)


@pytest.mark.parametrize('table, classes', [('lvis_v0.5', 1230),
                                            ('lvis_v1', 1203)])
def test_packaged_tables_are_as_long_as_the_host_knows(table, classes):
    assert len(load_counts(table).ids) == classes


def build_softmax(source, **kwargs):
    kwargs = {'frequency_threshold': 0.05, 'gamma': 0.9, **kwargs}
    return MODELS.build(
        dict(
            type='SoftmaxEqualizationLoss', frequency_source=source, **kwargs))


@pytest.fixture
def detections():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(R, K + 1, generator=generator)
    labels = torch.randint(0, K, (R, ), generator=generator)
    labels[::2] = K
    return logits, labels


def test_softmax_loss_draws_from_the_seeded_generator(counts_file, detections):
    loss = build_softmax(counts_file)
    logits, labels = detections
    torch.manual_seed(7)
    result = loss(logits, labels, reduction_override='none')
    torch.manual_seed(7)
    drawn = torch.rand(R, K + 1) < 0.9
    tail = torch.tensor([1., 0, 1, 0, 1, 0])  # background is no tail
    expected = softmax_equalization_loss(logits, labels, tail, drawn)
    assert torch.equal(result, expected)
    again = loss(logits, labels, reduction_override='none')
    assert not torch.equal(result, again)


def test_softmax_loss_leaves_out_a_share_gamma_of_the_tail(counts_file):
    loss = build_softmax(counts_file, gamma=0.3, reduction='none')
    n = 20000
    logits = torch.zeros(n, K + 1, requires_grad=True)
    torch.manual_seed(0)
    loss(logits, torch.full((n, ), K)).sum().backward()
    out = (logits.grad == 0).float().mean(dim=0)
    # 5 standard deviations; the background is the label here.
    assert out[[0, 2, 4]].tolist() == pytest.approx([0.3] * 3, abs=0.017)
    assert (out[[1, 3, 5]] == 0).all()
    foreground = torch.zeros(n, K + 1, requires_grad=True)
    loss(foreground, torch.zeros(n).long()).sum().backward()
    assert (foreground.grad[:, [0, 5]] != 0).all()


@pytest.mark.parametrize('background', [True, False])
def test_softmax_loss_at_gamma_zero_is_the_cross_entropy_of_the_host(
        counts_file, detections, background):
    logits, labels = detections
    if not background:
        logits, labels = logits[:, :K].contiguous(), labels % K
    loss = build_softmax(counts_file, gamma=0., with_background=background)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weight = torch.linspace(0, 2, R)
    result = loss(a, labels, weight, avg_factor=9.)
    expected = CrossEntropyLoss()(b, labels, weight, avg_factor=9.)
    result.backward()
    expected.backward()
    assert torch.equal(result, expected) and torch.equal(a.grad, b.grad)


def test_softmax_contract_with_the_host(counts_file, detections):
    loss = build_softmax(counts_file)
    logits, labels = detections
    host = CrossEntropyCustomLoss(use_sigmoid=False, num_classes=K)
    assert loss.get_cls_channels(K) == host.get_cls_channels(K) == K + 1
    torch.testing.assert_close(
        loss.get_activation(logits), host.get_activation(logits))
    best = logits[:, :K].argmax(dim=1)
    right = [p == y for p, y in zip(best.tolist(), labels.tolist()) if y < K]
    assert loss.get_accuracy(logits,
                             labels)['acc_classes'].item() == pytest.approx(
                                 100 * sum(right) / len(right))


def test_softmax_loss_runs_on_meta_and_compiles(counts_file, detections):
    logits, labels = detections
    # With probability 1 the compiler's own random numbers do not matter.
    loss = build_softmax(counts_file, gamma=1.)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(
        compiled(logits, labels, avg_factor=4.0),
        loss(logits, labels, avg_factor=4.0))
    logits = torch.empty(R, K + 1, device='meta', requires_grad=True)
    loss.to('meta')(logits, labels.to('meta'), avg_factor=4.0).backward()
    assert logits.grad.shape == (R, K + 1)


def test_softmax_loss_of_an_empty_batch_has_a_gradient(counts_file):
    logits = torch.zeros(0, K + 1, requires_grad=True)
    loss = build_softmax(counts_file)(logits, torch.zeros(0).long())
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, K + 1)


@pytest.mark.parametrize('settings, message', [
    (dict(gamma=1.1), r'gamma .*\[0, 1\], but got 1.1'),
    (dict(gamma=-0.1), r'gamma .*\[0, 1\], but got -0.1'),
    (dict(tail_ratio=0.1), 'exactly one of frequency_threshold'),
    (dict(reduction='max'), "but got 'max'"),
])
def test_wrong_softmax_settings_are_named(counts_file, settings, message):
    with pytest.raises(ValueError, match=message):
        build_softmax(counts_file, **settings)


def test_softmax_classifier_in_a_box_head_is_refused(counts_file):
    loss = build_softmax(counts_file, with_background=False)
    with pytest.raises(ValueError, match='with_background=True in a box'):
        loss.get_cls_channels(K)


@pytest.mark.parametrize('background, columns', [(True, K), (False, K + 1)])
def test_wrong_number_of_softmax_columns_is_named(counts_file, background,
                                                  columns):
    loss = build_softmax(counts_file, with_background=background)
    with pytest.raises(ValueError, match=rf'\({R}, {columns}\)'):
        loss(torch.zeros(R, columns), torch.zeros(R).long())
