"""Class weights in the softmax against the host's and a plain loop."""
import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss
from mmdet.registry import MODELS

R, K = 12, 5
IMAGES, OBJECTS = [1, 80, 3, 40, 2], [1, 99, 3, 41, 9]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(R, K + 1, generator=generator)
    return 3 * logits, torch.arange(R) % (K + 1)


def build(source, power=0.5, **kwargs):
    return MODELS.build(
        dict(
            type='ClassWeightedLoss',
            frequency_source=source,
            power=power,
            **kwargs))


def value_and_gradient(loss, logits, labels, *rest, **kwargs):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, *rest, **kwargs)
    value.sum().backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize('avg_factor', [None, 9.])
def test_power_zero_is_the_cross_entropy_of_the_host_to_the_bit(
        counts_file, batch, avg_factor):
    weight = torch.linspace(0, 2, R)
    result, expected = (
        value_and_gradient(loss, *batch, weight, avg_factor=avg_factor)
        for loss in (build(counts_file, 0.), CrossEntropyLoss()))
    assert all(map(torch.equal, result, expected))


@pytest.mark.parametrize('power', [0.5, 1.])
def test_value_and_gradient_equal_a_loop(counts_file, batch, power):
    raw = [n**-power for n in IMAGES]
    mean = sum(m * w for m, w in zip(OBJECTS, raw)) / sum(OBJECTS)
    weight = [*(w / mean for w in raw), 1.]
    logits, labels = batch[0].double(), batch[1]
    loss, gradient = torch.zeros(R).double(), torch.zeros_like(logits)
    for r in range(R):
        w, terms = weight[labels[r]], logits[r].exp().tolist()
        loss[r] = -w * math.log(terms[labels[r]] / sum(terms))
        for j in range(K + 1):
            y = int(labels[r] == j)
            gradient[r, j] = w * (terms[j] / sum(terms) - y)
    result = value_and_gradient(
        build(counts_file, power, reduction='none'), logits, labels)
    torch.testing.assert_close(result, (loss, gradient), rtol=1e-6, atol=1e-9)


def test_the_mean_divides_by_rois_and_not_by_their_weights(counts_file):
    loss = build(counts_file, 1.)
    rare, frequent = (
        loss(torch.zeros(4, K + 1), torch.full((4, ), k)) for k in (0, 1))
    assert (rare / frequent).item() == pytest.approx(80)
    background = loss(torch.zeros(4, K + 1), torch.full((4, ), K))
    assert background.item() == pytest.approx(math.log(K + 1))


def test_rois_as_frequent_as_objects_weigh_one_on_average(counts_file):
    labels = torch.cat([torch.full((m, ), k) for k, m in enumerate(OBJECTS)])
    loss = build(counts_file, 0.7)(torch.zeros(len(labels), K + 1), labels)
    assert loss.item() == pytest.approx(math.log(K + 1), rel=1e-6)


def test_gradcheck(counts_file, batch):
    loss = build(counts_file)
    assert torch.autograd.gradcheck(lambda z: loss(z, batch[1]),
                                    batch[0].double().requires_grad_())


def test_power_is_asked_for(counts_file):
    with pytest.raises(TypeError, match='power'):
        MODELS.build(
            dict(type='ClassWeightedLoss', frequency_source=counts_file))
    with pytest.raises(ValueError, match=r'in \[0, 1\], but got 2'):
        build('nowhere.json', 2)
