"""Federated loss against a loop over the paper and drawing one by one."""
import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyCustomLoss
from mmdet.registry import MODELS
from torch._inductor import config as inductor_config

from eql_mmdet.losses import federated
from eql_mmdet.losses.federated import federated_mask

R, K = 16, 8
IMAGES = [1, 80, 0, 40, 2, 25, 9, 60]
WEIGHT = torch.tensor(IMAGES).double().sqrt()


@pytest.fixture
def source(write_counts):
    return write_counts(IMAGES)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(R, K, generator=generator, dtype=torch.float64)
    labels = torch.tensor([2, 5, 2] + [K] * (R - 3))
    return logits, labels


def build(source, **kwargs):
    kwargs = {'num_sampled': 5, **kwargs}
    return MODELS.build(
        dict(type='FederatedLoss', frequency_source=source, **kwargs))


def value_and_gradient(loss, logits, labels, *rest, **kwargs):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, *rest, **kwargs)
    value.sum().backward()
    return value.detach(), logits.grad


def paper_loop(logits, labels, chosen):
    """Sigmoid cross-entropy of the chosen categories, score by score."""
    loss, gradient = torch.zeros(R).double(), torch.zeros(R, K).double()
    for r in range(R):
        for j in chosen:
            y = int(labels[r] == j)
            p = 1 / (1 + math.exp(-float(logits[r, j])))
            loss[r] -= math.log(p if y else 1 - p)
            gradient[r, j] = p - y
    return loss, gradient


@pytest.mark.parametrize('chosen', [{2, 5}, {2, 5, 0, 7}, set(range(K))])
def test_value_and_gradient_equal_a_loop_over_the_drawn_set(
        source, batch, chosen, monkeypatch):
    mask = torch.tensor([float(j in chosen) for j in range(K)])
    monkeypatch.setattr(federated, 'federated_mask', lambda *args: mask)
    result = value_and_gradient(build(source, reduction='none'), *batch)
    torch.testing.assert_close(
        result, paper_loop(*batch, chosen), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('num_sampled', [K, K + 1, 50])
def test_with_enough_draws_it_is_the_sigmoid_loss_of_the_host(
        source, batch, num_sampled):
    host = CrossEntropyCustomLoss(use_sigmoid=True, num_classes=K)
    weight = torch.linspace(0, 2, R)
    loss = build(source, num_sampled=num_sampled)
    logits, labels = batch[0].float(), batch[1]
    result, expected = (
        value_and_gradient(one, logits, labels, weight, avg_factor=9.)
        for one in (loss, host))
    torch.testing.assert_close(result, expected)


def mask(labels, num_sampled, weight=WEIGHT, seed=0):
    uniform = torch.rand(
        len(weight), generator=torch.Generator().manual_seed(seed))
    return federated_mask(torch.tensor(labels), weight, num_sampled, uniform)


@pytest.mark.parametrize('labels, num_sampled, expected', [
    ([2, 5, 2], 5, 5),
    ([2, 5, 2, K], 5, 4),
    ([K, K], 5, 4),
    ([K, K], 1, 0),
    ([2, 2, K], 2, 1),
    ([0, 1, 2, 3, 4, 5], 3, 6),
    ([0, 1, 2, 3, 4, 5, K], 3, 6),
    ([], 5, 5),
    ([-1, K + 3], 5, 4),
])
@pytest.mark.parametrize('seed', range(4))
def test_the_labels_come_first_and_background_counts_as_one(
        labels, num_sampled, expected, seed):
    labels = torch.tensor(labels).long().tolist()
    result = federated_mask(
        torch.tensor(labels).long(), WEIGHT, num_sampled,
        torch.rand(K, generator=torch.Generator().manual_seed(seed)))
    assert set(result.tolist()) <= {0., 1.} and result.sum() == expected
    foreground = [y for y in labels if 0 <= y < K]
    assert (result[foreground] == 1).all()
    assert result[2] == float(2 in labels)  # without an image: never drawn


def test_when_few_have_images_all_of_these_are_drawn():
    weight = torch.tensor([0., 3, 0, 1, 0, 0, 0, 0])
    for seed in range(20):
        assert mask([6, K], 5, weight,
                    seed).tolist() == [0, 1, 0, 1, 0, 0, 1, 0]


def test_extreme_random_numbers_draw_nothing_impossible():
    weight = torch.tensor([0., 1, 0, 2])
    for uniform in (torch.zeros(4), torch.full((4, ), 1 - 2.**-24)):
        result = federated_mask(torch.tensor([4]), weight, 3, uniform)
        assert result.tolist() == [0, 1, 0, 1]


def authors_mask(labels, num_sampled, weight, generator):
    """As released with CenterNet2: unique labels, then torch.multinomial."""
    appeared = torch.unique(torch.tensor(labels))
    chances = torch.cat([weight, torch.zeros(1).to(weight)])
    chances[appeared] = 0
    if len(appeared) < num_sampled:
        more = torch.multinomial(
            chances, num_sampled - len(appeared), generator=generator)
        appeared = torch.cat([appeared, more])
    result = torch.zeros(len(weight) + 1)
    result[appeared] = 1
    return result[:-1]


@pytest.mark.slow
@pytest.mark.parametrize('labels', [[5, 2, K], [1], [K]])
def test_sets_are_drawn_as_often_as_by_the_released_code(labels):
    n, power = 4000, 2**torch.arange(K)
    generator = torch.Generator().manual_seed(1)
    ours, theirs = torch.zeros(2**K), torch.zeros(2**K)
    for _ in range(n):
        uniform = torch.rand(K, generator=generator)
        drawn = federated_mask(torch.tensor(labels), WEIGHT, 5, uniform)
        ours[(drawn * power).sum().long()] += 1
        drawn = authors_mask(labels, 5, WEIGHT, generator)
        theirs[(drawn * power).sum().long()] += 1
    # Rare sets together, as the test of two samples wants it.
    often = theirs + ours >= 40
    pairs = torch.stack([ours, theirs])
    pairs = torch.cat([pairs[:, often], pairs[:, ~often].sum(1, keepdim=True)],
                      dim=1)
    pairs = pairs[:, pairs.sum(dim=0) > 0]
    degrees = pairs.shape[1] - 1
    chi_square = ((pairs[0] - pairs[1])**2 / pairs.sum(dim=0)).sum()
    # Mean plus four standard deviations.
    assert degrees > 4
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees)


@pytest.mark.parametrize(
    'n', [4000, pytest.param(20000, marks=pytest.mark.slow)])
def test_first_of_a_race_is_proportional_to_the_root_of_the_count(source, n):
    loss = build(source, num_sampled=1)
    generator = torch.Generator().manual_seed(3)
    drawn = sum(
        federated_mask(
            torch.zeros(0).long(), loss.draw_weight, 1,
            torch.rand(K, generator=generator)) for _ in range(n)) / n
    expected = torch.tensor(IMAGES).float().sqrt()
    expected /= expected.sum()
    # 5 standard deviations.
    assert ((drawn - expected).abs()
            <= 5 * (expected * (1 - expected) / n).sqrt()).all()


def test_it_draws_anew_from_the_seeded_generator(source, batch):
    loss = build(source)
    results = []
    for seed in (7, 7, 8, 9, 10):
        torch.manual_seed(seed)
        results.append(float(loss(*batch)))
    assert results[0] == results[1] and len(set(results)) > 2


def test_categories_that_were_not_drawn_get_exactly_no_gradient(source, batch):
    torch.manual_seed(0)
    logits, labels = batch
    _, gradient = value_and_gradient(build(source), logits, labels)
    zero = (gradient == 0).all(dim=0)
    assert zero.sum() == K - 4  # background is one of the five
    assert not zero[[2, 5]].any() and (gradient[:, ~zero] != 0).all()


def test_gradcheck(source, batch):
    loss = build(source)

    def seeded(logits):
        torch.manual_seed(0)
        return loss(logits, batch[1])

    assert torch.autograd.gradcheck(seeded, batch[0].requires_grad_())


def test_an_image_of_background_alone_still_teaches(source):
    torch.manual_seed(0)
    logits = torch.zeros(R, K)
    value, gradient = value_and_gradient(
        build(source), logits, torch.full((R, ), K))
    assert value.item() == pytest.approx(4 * math.log(2))
    assert gradient.sum().item() == pytest.approx(4 * 0.5)


@pytest.mark.slow
def test_compiled_it_is_the_same_for_the_same_numbers(source, batch):
    loss = build(source)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    results = []
    for function in (loss, compiled):
        torch.manual_seed(4)
        with inductor_config.patch(fallback_random=True):
            results.append(
                value_and_gradient(function, batch[0].float(), batch[1]))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('settings, message', [
    (dict(num_sampled=0), 'at least 1, but got 0'),
    (dict(num_sampled=2.5), 'at least 1, but got 2.5'),
    (dict(power=1.5), r'in \[0, 1\], but got 1.5'),
])
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build('nowhere.json', **settings)
