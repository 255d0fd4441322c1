"""The equations against loops written from the paper and known functions."""
import math

import pytest
import torch
import torch.nn.functional as F

from eql_mmdet.losses.functional import (equalization_loss,
                                         equalization_weight,
                                         foreground_accuracy, sigmoid_scores,
                                         softmax_equalization_loss)

R, K = 12, 7


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(R, K, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K + 1, (R, ), generator=generator)
    labels[:3] = torch.tensor([K, 0, K - 1])
    tail = torch.tensor([1., 0., 1., 0., 0., 1., 1.], dtype=torch.float64)
    return logits, labels, tail


def paper_loop(logits, labels, tail, exclude_background=True):
    """Eq. (1), (2) and (4) of the paper, one scalar at a time."""
    loss, gradient = torch.zeros_like(logits), torch.zeros_like(logits)
    for r in range(logits.shape[0]):
        e = 1 if labels[r] < logits.shape[1] or not exclude_background else 0
        for j in range(logits.shape[1]):
            y = 1 if labels[r] == j else 0
            w = 1 - e * float(tail[r][j] if tail.ndim > 1 else tail[j]) * (1 -
                                                                           y)
            p = 1 / (1 + math.exp(-float(logits[r, j])))
            loss[r, j] = -w * math.log(p if y else 1 - p)
            gradient[r, j] = w * (p - y)
    return loss, gradient


def test_loss_and_gradient_equal_a_loop_over_the_paper(batch):
    logits, labels, tail = batch
    logits.requires_grad_()
    loss = equalization_loss(logits, labels, tail)
    loss.sum().backward()
    expected_loss, expected_gradient = paper_loop(logits.detach(), labels,
                                                  tail)
    torch.testing.assert_close(loss.detach(), expected_loss)
    torch.testing.assert_close(logits.grad, expected_gradient)


def test_continuous_tail_weights_equal_a_loop_over_the_paper(batch):
    logits, labels, tail = batch
    tail = tail * 0.37
    loss = equalization_loss(logits, labels, tail)
    torch.testing.assert_close(loss, paper_loop(logits, labels, tail)[0])


@pytest.mark.parametrize('by_roi', [False, True])
def test_loss_without_exclusion_equals_a_loop_over_the_paper(batch, by_roi):
    logits, labels, tail = batch
    if by_roi:
        generator = torch.Generator().manual_seed(3)
        tail = torch.rand(R, K, generator=generator).double() * tail
    logits.requires_grad_()
    loss = equalization_loss(logits, labels, tail, exclude_background=False)
    loss.sum().backward()
    expected = paper_loop(logits.detach(), labels, tail, False)
    torch.testing.assert_close((loss.detach(), logits.grad), expected)


def test_without_exclusion_background_spares_the_tail(batch):
    _, _, tail = batch
    background = torch.full((R, ), K)
    weight = equalization_weight(background, tail, exclude_background=False)
    assert torch.equal(weight, (1 - tail).expand(R, K))


def test_gradcheck(batch):
    logits, labels, tail = batch
    assert torch.autograd.gradcheck(
        lambda z: equalization_loss(z, labels, tail), logits.requires_grad_())


def test_protected_entries_have_exactly_zero_gradient(batch):
    logits, labels, tail = batch
    logits.requires_grad_()
    equalization_loss(logits, labels, tail).sum().backward()
    targets = F.one_hot(labels, K + 1)[:, :K].bool()
    protected = (labels < K)[:, None] & ~targets & tail.bool()
    assert protected.any()
    assert (logits.grad[protected] == 0).all()
    assert (logits.grad[~protected] != 0).all()


def test_background_rois_keep_every_negative_gradient(batch):
    _, _, tail = batch
    background = torch.full((R, ), K)
    assert (equalization_weight(background, tail) == 1).all()


@pytest.mark.parametrize('case', ['no tail', 'all background'])
def test_loss_without_protection_equals_bce(batch, case):
    logits, labels, tail = batch
    if case == 'no tail':
        tail = torch.zeros_like(tail)
    else:
        labels = torch.full_like(labels, K)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    targets = F.one_hot(labels, K + 1)[:, :K].double()
    loss = equalization_loss(a, labels, tail).sum()
    expected = F.binary_cross_entropy_with_logits(b, targets, reduction='sum')
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize('sign', [1, -1])
def test_extreme_logits_stay_finite_and_exact(sign):
    logits = torch.full((2, 3), 100.0 * sign, requires_grad=True)
    labels, tail = torch.tensor([0, 3]), torch.tensor([1., 1., 0.])
    loss = equalization_loss(logits, labels, tail)
    loss.sum().backward()
    positive, negative = (0., 100.) if sign > 0 else (100., 0.)
    expected = [[positive, 0., negative], [negative] * 3]
    torch.testing.assert_close(loss.detach(), torch.tensor(expected))
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(batch, dtype):
    logits, labels, tail = batch
    half = logits.to(dtype)
    loss = equalization_loss(half, labels, tail)
    assert loss.dtype == torch.float32
    expected = equalization_loss(half.double(), labels, tail)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_loss_under_bf16_autocast_equals_float32(batch):
    logits, labels, tail = batch
    x = torch.randn(R, 5)
    weight = torch.randn(K, 5, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = F.linear(x, weight)
        loss = equalization_loss(half, labels, tail.float()).sum()
    assert half.dtype == torch.bfloat16 and loss.dtype == torch.float32
    expected = equalization_loss(half.float(), labels, tail.float()).sum()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(weight.grad).all()


def test_loss_and_accuracy_never_read_back_from_the_device():
    logits = torch.empty(R, K, device='meta', requires_grad=True)
    labels = torch.empty(R, dtype=torch.long, device='meta')
    tail = torch.empty(K, device='meta')
    loss = equalization_loss(logits, labels, tail)
    loss.sum().backward()
    assert loss.shape == logits.grad.shape == (R, K)
    assert foreground_accuracy(logits, labels).shape == ()
    assert sigmoid_scores(logits).shape == (R, K + 1)


def test_loss_compiles_without_a_graph_break(batch):
    logits, labels, tail = batch
    logits, tail = logits.float(), tail.float()
    compiled = torch.compile(equalization_loss, fullgraph=True)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = compiled(a, labels,
                              tail), equalization_loss(b, labels, tail)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize('shapes', [
    ((R, K + 1), (R, ), (K, )),
    ((R, K), (R + 1, ), (K, )),
    ((R, K), (R, 1), (K, )),
    ((K, ), (R, ), (K, )),
    ((R, K), (R, ), (R + 1, K)),
    ((R, K), (R, ), ()),
])
def test_wrong_shapes_are_named(shapes):
    logits, labels, tail = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match='expected logits .R, K.') as error:
        equalization_loss(logits, labels.long(), tail)
    assert str(tuple(shapes[0])) in str(error.value)


def test_scores_are_sigmoids_with_a_zero_background_column(batch):
    logits, _, _ = batch
    scores = sigmoid_scores(logits)
    assert scores.shape == (R, K + 1)
    torch.testing.assert_close(scores[:, :K], 1 / (1 + (-logits).exp()))
    assert (scores[:, K] == 0).all()
    assert sigmoid_scores(logits.bfloat16()).dtype == torch.float32


def test_accuracy_counts_foreground_rois_only():
    logits = torch.tensor([[2., 1.], [2., 1.], [0., 1.], [5., 0.]])
    labels = torch.tensor([0, 1, 1, 2])  # the last one is background
    assert foreground_accuracy(logits, labels).item() == pytest.approx(200 / 3)


@pytest.mark.parametrize('rois', [0, 2])
def test_accuracy_without_foreground_is_zero(rois):
    accuracy = foreground_accuracy(
        torch.zeros(rois, 3), torch.full((rois, ), 3))
    assert accuracy.item() == 0


@pytest.fixture
def drawn(batch):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch[0].shape, generator=generator) < 0.7


def softmax_loop(logits, labels, tail, drawn):
    """The softmax form of the paper, one scalar at a time."""
    loss, gradient = torch.zeros(R).double(), torch.zeros_like(logits)
    for r in range(R):
        terms = []
        for k in range(K):
            y, beta = int(labels[r] == k), int(drawn[r, k])
            w = 1 - beta * float(tail[k]) * (1 - y)
            terms.append(w * math.exp(float(logits[r, k])))
        p = [term / sum(terms) for term in terms]
        loss[r] = -math.log(p[labels[r]])
        for k in range(K):
            gradient[r, k] = p[k] - int(labels[r] == k)
    return loss, gradient


def softmax_value_and_gradient(function, logits, *rest):
    logits = logits.clone().requires_grad_()
    loss = function(logits, *rest)
    loss.sum().backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize('strength', [1., 0.37])
def test_softmax_loss_and_gradient_equal_a_loop(batch, drawn, strength):
    logits, labels, tail = batch
    labels, tail = labels % K, strength * tail
    result = softmax_value_and_gradient(softmax_equalization_loss, logits,
                                        labels, tail, drawn)
    torch.testing.assert_close(result, softmax_loop(logits, labels, tail,
                                                    drawn))


@pytest.mark.parametrize('case', ['nothing drawn', 'no tail'])
def test_softmax_loss_without_a_draw_is_cross_entropy_to_the_bit(
        batch, drawn, case):
    logits, labels, tail = batch
    labels = labels % K
    if case == 'no tail':
        tail = torch.zeros_like(tail)
    else:
        drawn = torch.zeros_like(drawn)
    result = softmax_value_and_gradient(softmax_equalization_loss, logits,
                                        labels, tail, drawn)
    expected = softmax_value_and_gradient(
        lambda z, y: F.cross_entropy(z, y, reduction='none'), logits, labels)
    assert all(map(torch.equal, result, expected))


def test_softmax_gradcheck(batch, drawn):
    logits, labels, tail = batch
    labels = labels % K
    assert torch.autograd.gradcheck(
        lambda z: softmax_equalization_loss(z, labels, 0.9 * tail, drawn),
        logits.requires_grad_())


def test_left_out_categories_have_exactly_zero_softmax_gradient(batch, drawn):
    logits, labels, tail = batch
    labels = labels % K
    out = drawn & tail.bool() & (labels[:, None] != torch.arange(K))
    _, gradient = softmax_value_and_gradient(softmax_equalization_loss, logits,
                                             labels, tail, drawn)
    assert out.any() and (gradient[out] == 0).all()
    assert (gradient[~out] != 0).all()


@pytest.mark.parametrize('scale', [1e4, 1e30, 3e38])
@pytest.mark.parametrize('share', [0., 0.5, 1.])
def test_softmax_loss_never_gives_nan(batch, scale, share):
    logits, labels, _ = batch
    extreme = scale * logits.sign().float()
    drawn = torch.rand(
        R, K, generator=torch.Generator().manual_seed(2)) < share
    loss, gradient = softmax_value_and_gradient(softmax_equalization_loss,
                                                extreme, labels % K,
                                                torch.ones(K), drawn)
    assert not loss.isnan().any() and torch.isfinite(gradient).all()


@pytest.mark.parametrize('value', [math.inf, -math.inf])
def test_left_out_categories_add_nothing_even_at_infinity(batch, value):
    logits, labels, tail = batch
    labels, drawn = labels % K, torch.ones(R, K).bool()
    out = tail.bool() & (labels[:, None] != torch.arange(K))
    rest = labels, tail, drawn
    expected = softmax_value_and_gradient(softmax_equalization_loss, logits,
                                          *rest)
    result = softmax_value_and_gradient(softmax_equalization_loss,
                                        logits.masked_fill(out, value), *rest)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_softmax_loss_of_half_precision_is_computed_in_float32(batch, drawn):
    logits, labels, tail = batch
    half = logits.bfloat16()
    loss = softmax_equalization_loss(half, labels % K, tail, drawn)
    assert loss.dtype == torch.float32
    expected = softmax_equalization_loss(half.double(), labels % K, tail,
                                         drawn)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_wrong_shape_of_the_draw_is_named(batch):
    logits, labels, tail = batch
    with pytest.raises(ValueError, match=r'drawn .*\(12, 7\).*\(7,\)'):
        softmax_equalization_loss(logits, labels % K, tail, tail.bool())
