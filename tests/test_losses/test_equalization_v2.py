"""EqualizationLossV2: the authors' outputs, its memory, and the contract."""
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from torch import nn

from eql_mmdet.losses import gradient_balance as equations
from eql_mmdet.losses.gradient_balance import (Balance, balanced_loss,
                                               balanced_roi_loss,
                                               gradient_balance, gradient_sums)

ORACLE = Path(__file__).parents[1] / 'oracle' / 'eqlv2.npz'
R, K = 24, 7
MEMORY = ('pos_grad', 'neg_grad', 'pos_neg')


def build(**kwargs):
    return MODELS.build(
        dict(type='EqualizationLossV2', **{
            'num_classes': K,
            **kwargs
        }))


def make_batch(seed=0, rois=R):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rois, K + 1, generator=generator)
    return logits, torch.randint(0, K + 1, (rois, ), generator=generator)


def take_step(loss, batch, **kwargs):
    """Return the value and the gradient of a batch."""
    logits = batch[0].clone().requires_grad_()
    value = loss(logits, batch[1], **kwargs)
    value.backward()
    return value.detach(), logits.grad


def memory_of(loss):
    return {name: getattr(loss, name) for name in MEMORY}


def assert_close(found, expected):
    """Within 1e-6 of the largest value."""
    found, expected = (torch.as_tensor(t).double() for t in (found, expected))
    atol = 1e-6 * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_twelve_steps_are_those_of_the_authors():
    oracle = np.load(ORACLE)
    loss = build(num_classes=int(oracle['one_K']))
    for step in range(oracle['one_steps']):
        batch = [
            torch.tensor(oracle[f'one_{name}'][step, 0])
            for name in ('logits', 'labels')
        ]
        value, gradient = take_step(loss, batch)
        assert_close(value, oracle['one_loss'][step, 0])
        assert_close(gradient, oracle['one_grad_logits'][step, 0])
        for name, stored in zip(MEMORY, ('pos_grad', 'neg_grad', 'ratio')):
            assert_close(getattr(loss, name), oracle[f'one_{stored}'][step])
    assert_close(loss.get_activation(batch[0]), oracle['one_scores'])


STEPS = '''
import torch
from test_equalization_v2 import build, memory_of, take_step
loss = build(num_classes=num_classes)
result = []
for logits, labels in zip(all_logits[:, rank], all_labels[:, rank]):
    value, gradient = take_step(
        loss, (torch.tensor(logits), torch.tensor(labels)))
    memory = {k: v.clone() for k, v in memory_of(loss).items()}
    result.append((value, gradient, memory))
'''


def test_six_steps_of_two_processes_are_those_of_the_authors(two_processes):
    oracle = np.load(ORACLE)
    ranks = two_processes(
        STEPS,
        num_classes=int(oracle['two_K']),
        all_logits=oracle['two_logits'],
        all_labels=oracle['two_labels'])
    for rank, steps in enumerate(ranks):
        assert len(steps) == oracle['two_steps'] == 6
        for step, (value, gradient, memory) in enumerate(steps):
            assert_close(value, oracle['two_loss'][step, rank])
            assert_close(gradient, oracle['two_grad_logits'][step, rank])
            assert_close(memory['pos_grad'], oracle['two_pos_grad'][step])
            assert_close(memory['neg_grad'], oracle['two_neg_grad'][step])
            assert_close(memory['pos_neg'], oracle['two_ratio'][step])


UNEVEN = '''
import torch
from mmdet.registry import MODELS
from mmengine.dist import all_reduce
from test_equalization_v2 import K, make_batch, memory_of
calls = []
from eql_mmdet.losses import memory
memory.all_reduce = lambda tensor: (calls.append(1), all_reduce(tensor))
head = MODELS.build(dict(
    type='EQLBBoxHead', num_classes=K, in_channels=8, roi_feat_size=3,
    fc_out_channels=16, loss_cls=dict(type='EqualizationLossV2')))
logits, labels = make_batch(rois=24 if rank else 0)
logits.requires_grad_()
losses = head.loss(logits, None, torch.zeros(len(labels), 5), labels,
                   torch.ones(len(labels)), None, None)
losses['loss_cls'].backward()
result = len(calls), losses['loss_cls'].item(), memory_of(head.loss_cls)
'''


def test_a_process_without_rois_takes_part(two_processes):
    (calls, empty, one), (other_calls, value, two) = two_processes(UNEVEN)
    assert (calls, other_calls) == (1, 1) and empty == 0 and value > 0
    alone = build()
    take_step(alone, make_batch())
    for name, expected in memory_of(alone).items():
        torch.testing.assert_close(one[name], expected)
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0)


def paper_loss(logits, labels, ratio, alpha=4, gamma=12, mu=0.8):
    """Write (5) to (8) of the paper as a loop over scores."""
    total, up, down = 0., torch.zeros(K), torch.zeros(K)
    for row, label in zip(logits.double(), labels.tolist()):
        for j, z in enumerate(row):
            p = 1 / (1 + torch.exp(-z))
            r = q = torch.ones((), dtype=torch.double)
            if j < K:
                r = 1 / (1 + torch.exp(-gamma * (ratio[j] - mu)))
                q = 1 + alpha * (1 - r)
            if j == label:
                total -= q * torch.log(p)
                gradient = q * (1 - p)
            else:
                total -= r * torch.log(1 - p)
                gradient = r * p
            if j < K:
                (up if j == label else down)[j] += gradient
    return total / len(logits), up, down


def test_one_step_is_the_loop_of_the_paper():
    loss = build(gamma=5, mu=0.5, alpha=3)
    take_step(loss, make_batch(1))
    before = {k: v.clone() for k, v in memory_of(loss).items()}
    logits, labels = make_batch(2)
    expected, up, down = paper_loss(logits, labels, before['pos_neg'], 3, 5,
                                    0.5)
    value, _ = take_step(loss, (logits, labels))
    assert_close(value, expected)
    assert_close(loss.pos_grad - before['pos_grad'], up)
    assert_close(loss.neg_grad - before['neg_grad'], down)


@pytest.mark.parametrize('chunk', [1, 40, 2**18])
def test_one_pass_is_the_definition(chunk, monkeypatch):
    monkeypatch.setattr('eql_mmdet.losses.fused.CPU_CHUNK', chunk)
    balance = gradient_balance(torch.linspace(0, 1.2, K), 12, 0.8, 4)
    logits, labels = make_batch(3)
    weight = torch.linspace(0, 2, R)
    a, b = (logits.clone().requires_grad_() for _ in range(2))
    rows, sums = balanced_roi_loss(a, labels, balance, weight)
    expected = balanced_loss(b, labels, balance).sum(dim=1)
    torch.testing.assert_close(rows, expected)
    (rows * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(sums,
                               gradient_sums(logits, labels, balance, weight))
    # The sums are those of the gradient itself.
    own = labels[:, None] == torch.arange(K + 1)
    torch.testing.assert_close(sums[0], -(b.grad * own).sum(0))
    torch.testing.assert_close(sums[1], (b.grad * ~own).sum(0))


def test_gradient_passes_gradcheck():
    balance = Balance(torch.rand(K + 1).double(), torch.rand(K + 1).double())
    logits, labels = make_batch(4, rois=5)
    assert torch.autograd.gradcheck(
        lambda z: balanced_roi_loss(z, labels, balance, torch.ones(5))[0],
        logits.double().requires_grad_())


def test_the_first_step_is_binary_cross_entropy():
    logits, labels = make_batch()
    value, _ = take_step(build(loss_weight=0.5), (logits, labels))
    target = nn.functional.one_hot(labels, K + 1).float()
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits, target, reduction='sum')
    torch.testing.assert_close(value, 0.5 * expected / R)


def test_weights_count_in_the_memory_as_in_the_loss():
    logits, labels = make_batch()
    weight = (torch.arange(R) % 2).float()
    one, two = build(), build()
    value, _ = take_step(
        one, (logits, labels), weight=weight, avg_factor=R / 2)
    expected, _ = take_step(two, (logits[1::2], labels[1::2]))
    torch.testing.assert_close(value, expected)
    for name in MEMORY:
        torch.testing.assert_close(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize('override', ['none', 'sum'])
def test_reductions_equal_arithmetic(override):
    batch = make_batch()
    mean = build()(*batch)
    result = build()(*batch, reduction_override=override)
    assert result.shape == ((R, ) if override == 'none' else ())
    torch.testing.assert_close(result.sum() / R, mean)


@pytest.mark.parametrize('avg_factor', [None, 1.0])
def test_empty_batch_gives_zero_with_a_gradient(avg_factor):
    loss = build()
    value, gradient = take_step(
        loss, make_batch(rois=0), avg_factor=avg_factor)
    assert value == 0 and gradient.shape == (0, K + 1)
    assert not loss.pos_grad.any() and not loss.neg_grad.any()


def test_only_training_is_remembered():
    loss = build()
    logits, labels = make_batch()
    with torch.no_grad():
        loss(logits, labels)
    loss.eval()(logits.requires_grad_(), labels).backward()
    assert not loss.pos_grad.any() and (loss.pos_neg == 100).all()


def test_saved_and_resumed_it_goes_on_bit_by_bit():
    one, two = build(), build()
    for seed in range(3):
        take_step(one, make_batch(seed))
    assert set(one.state_dict()) == set(MEMORY)
    two.load_state_dict(one.state_dict())
    copied = copy.deepcopy(one)
    for seed in range(3, 6):
        results = [take_step(x, make_batch(seed)) for x in (one, two, copied)]
        for value, gradient in results[1:]:
            assert torch.equal(value, results[0][0])
            assert torch.equal(gradient, results[0][1])
    assert torch.equal(one.pos_neg, two.pos_neg)


@pytest.mark.parametrize('update_buffers', [False, True])
def test_a_moving_average_copies_or_averages_it(update_buffers):
    loss = build()
    average = ExponentialMovingAverage(
        loss, momentum=0.5, update_buffers=update_buffers)
    for seed in range(2):
        take_step(loss, make_batch(seed))
        average.update_parameters(loss)
        before = memory_of(average.module)
    assert before['pos_grad'].any()
    assert torch.equal(before['pos_grad'], loss.pos_grad) != update_buffers
    assert average.module.pos_grad is not loss.pos_grad


def test_accumulated_batches_are_all_remembered():
    loss = build()
    batches = [make_batch(seed) for seed in range(2)]
    for batch in batches:
        logits = batch[0].clone().requires_grad_()
        (loss(logits, batch[1]) / 2).backward()
    expected, ratio = torch.zeros(2, K), torch.full((K, ), 100.)
    for logits, labels in batches:
        balance = gradient_balance(ratio, 12, 0.8, 4)
        expected += gradient_sums(logits, labels, balance,
                                  torch.ones(R))[:, :-1]
        ratio = expected[0] / (expected[1] + 1e-10)
    torch.testing.assert_close(loss.pos_grad, expected[0])
    torch.testing.assert_close(loss.neg_grad, expected[1])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_remembers_in_float32(dtype):
    loss = build()
    take_step(loss, make_batch())
    before = loss.pos_grad.clone()
    loss.to(dtype)
    assert loss.pos_grad.dtype == loss.pos_neg.dtype == torch.float32
    assert torch.equal(loss.pos_grad, before)
    logits, labels = make_batch(1)
    value, gradient = take_step(loss, (logits.to(dtype), labels))
    assert value.dtype == torch.float32 and gradient.dtype == dtype


def test_under_bf16_autocast_it_computes_in_float32():
    x, labels = torch.randn(R, 3), make_batch()[1]
    weight = torch.randn(K + 1, 3, requires_grad=True)
    loss, other = build(), build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = nn.functional.linear(x, weight)
        value = loss(half, labels)
    assert half.dtype == torch.bfloat16 and value.dtype == torch.float32
    torch.testing.assert_close(value, other(half.float(), labels))
    for name in MEMORY:
        torch.testing.assert_close(
            getattr(loss, name), getattr(other, name), rtol=1e-6, atol=0)
    value.backward()
    assert weight.grad.isfinite().all() and weight.grad.any()


def test_half_precision_keeps_what_starved_categories_get():
    """AMP scales a loss only on the way back."""
    loss = build()
    loss.pos_neg.zero_()
    logits, labels = make_batch()
    logits[:] = -5
    half = logits.half().requires_grad_()
    (loss(half, torch.full_like(labels, K)) * 2**16).backward()
    assert (half.grad[:, :K] > 0).all()


def test_a_broken_batch_does_not_spoil_the_memory():
    loss = build()
    take_step(loss, make_batch())
    logits, labels = make_batch(1)
    logits[0, 0] = float('nan')
    value, _ = take_step(loss, (logits, labels))
    assert value.isnan()
    assert all(tensor.isfinite().all() for tensor in memory_of(loss).values())


@pytest.mark.slow
def test_loss_runs_on_meta_and_compiles():
    loss, eager = build(), build()
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    for seed in range(2):
        found = take_step(compiled, make_batch(seed), avg_factor=4.0)
        expected = take_step(eager, make_batch(seed), avg_factor=4.0)
        for one, two in zip(found, expected):
            torch.testing.assert_close(one, two)
    for name in MEMORY:
        torch.testing.assert_close(getattr(loss, name), getattr(eager, name))
    logits, labels = (t.to('meta') for t in make_batch())
    eager.to('meta')
    _, gradient = take_step(eager, (logits, labels), avg_factor=4.0)
    assert gradient.shape == (R, K + 1)


def make_head(**kwargs):
    return MODELS.build(
        dict(
            type='EQLBBoxHead',
            num_classes=K,
            in_channels=8,
            roi_feat_size=3,
            fc_out_channels=64,
            **{
                'loss_cls': dict(type='EqualizationLossV2'),
                **kwargs
            }))


def test_the_head_tells_it_how_many_and_starts_at_the_prior():
    head = make_head()
    head.init_weights()
    assert head.fc_cls.out_features == K + 1
    assert head.loss_cls.pos_grad.shape == (K, )
    torch.testing.assert_close(head.fc_cls.bias.sigmoid(),
                               torch.full((K + 1, ), 0.001))
    scores = head.loss_cls.get_activation(head.fc_cls.bias.detach()[None])
    assert scores.shape == (1, K + 1) and scores.max() == pytest.approx(1e-3)


def test_two_numbers_of_classes_are_refused():
    with pytest.raises(ValueError, match='num_classes=7, but .*num_classes=9'):
        make_head(loss_cls=dict(type='EqualizationLossV2', num_classes=9))
    with pytest.raises(ValueError, match='does not know how many'):
        build(num_classes=None)(*make_batch())
    with pytest.raises(ValueError, match=r'logits \(R, 8\).*\(24, 7\)'):
        logits, labels = make_batch()
        build()(logits[:, :-1], labels)


def test_sigmoids_need_a_bias():
    with pytest.raises(ValueError, match='a classifier with a bias'):
        make_head(cls_predictor_cfg=dict(type='Linear', bias=False))


def test_the_one_pass_is_not_the_definition_by_another_name(monkeypatch):
    batch = make_batch()
    expected = take_step(build(), batch)
    monkeypatch.setattr(equations, 'balanced_loss', None)
    monkeypatch.setattr(equations, 'gradient_sums', None)
    for found, value in zip(take_step(build(), batch), expected):
        assert torch.equal(found, value)
