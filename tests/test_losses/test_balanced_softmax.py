"""Balanced softmax against a loop over the paper and plain softmax."""
import math

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

R, K = 12, 5
IMAGES = [1, 80, 3, 40, 2]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(R, K + 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K + 1, (R, ), generator=generator)
    return 3 * logits, labels


def build(source, **kwargs):
    return MODELS.build(
        dict(type='BalancedSoftmaxLoss', frequency_source=source, **kwargs))


def value_and_gradient(loss, logits, labels):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels)
    value.sum().backward()
    return value.detach(), logits.grad


def paper_loop(logits, labels):
    """n_y e^z_y / sum_j n_j e^z_j, where background has the sum of all n."""
    loss, gradient = torch.zeros(R).double(), torch.zeros(R, K + 1).double()
    n = [*IMAGES, sum(IMAGES)]
    for r in range(R):
        terms = [n[j] * math.exp(float(logits[r, j])) for j in range(K + 1)]
        p = [term / sum(terms) for term in terms]
        loss[r] = -math.log(p[labels[r]])
        for j in range(K + 1):
            gradient[r, j] = p[j] - int(labels[r] == j)
    return loss, gradient


def test_value_and_gradient_equal_a_loop_over_the_paper(write_counts, batch):
    loss = build(write_counts(IMAGES), reduction='none')
    result = value_and_gradient(loss, *batch)
    torch.testing.assert_close(result, paper_loop(*batch), rtol=1e-6, atol=0)


def test_equal_counts_shift_the_background_alone(write_counts, batch):
    loss = build(write_counts([9] * K), reduction='none')
    result = value_and_gradient(loss, *batch)
    shift = F.pad(torch.zeros(K), (0, 1), value=math.log(K))
    expected = value_and_gradient(
        lambda z, y: F.cross_entropy(z + shift, y, reduction='none'), *batch)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


def test_logits_that_are_the_negative_prior_cancel_it(write_counts):
    loss = build(write_counts(IMAGES))
    logits = -loss.log_prior.repeat(R, 1)
    assert loss(logits,
                torch.arange(R) % (K + 1)).item() == pytest.approx(
                    math.log(K + 1))


def test_a_category_without_images_counts_as_one_with_one(write_counts, batch):
    loss = build(write_counts([0, 80, 3, 40, 2]), reduction='none')
    result = value_and_gradient(loss, *batch)
    assert (batch[1] == 0).any()
    torch.testing.assert_close(result, paper_loop(*batch), rtol=1e-6, atol=0)


@pytest.mark.parametrize('scale', [1e4, 1e30])
def test_loss_is_finite_for_any_label_and_extreme_logits(write_counts, scale):
    loss = build(write_counts([0, 80, 0, 40, 2]), reduction='none')
    signs = torch.randn(K + 1, generator=torch.Generator().manual_seed(0))
    logits = scale * signs.sign().repeat(K + 1, 1)
    value, gradient = value_and_gradient(loss, logits, torch.arange(K + 1))
    assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


def test_scores_do_not_hear_the_prior(write_counts, batch):
    scores = build(write_counts(IMAGES)).get_activation(batch[0])
    torch.testing.assert_close(scores, batch[0].softmax(dim=1))


def test_gradcheck(write_counts, batch):
    loss = build(write_counts(IMAGES))
    assert torch.autograd.gradcheck(lambda z: loss(z, batch[1]),
                                    batch[0].requires_grad_())
