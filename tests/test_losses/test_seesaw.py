"""Seesaw loss: equal to the host's on one process, and as one on two."""
import copy
import pickle

import pytest
import torch
from mmdet.models.losses import SeesawLoss
from mmdet.registry import MODELS

R, K, STEPS = 40, 6, 5


def batches(seed=0, steps=STEPS, rois=R):
    """Logits, labels and weights of some steps; the labels are long-tailed."""
    generator = torch.Generator().manual_seed(seed)
    chances = torch.tensor([30., 9, 3, 1, 1, 0, 60])  # one never, background
    for _ in range(steps):
        labels = torch.multinomial(
            chances, max(rois, 1), replacement=True, generator=generator)
        yield (3 * torch.randn(rois, K + 2, generator=generator),
               labels[:rois], torch.rand(rois, generator=generator))


def build(**kwargs):
    loss = MODELS.build(dict(type='SyncSeesawLoss', **kwargs))
    loss.get_cls_channels(K)
    return loss


def step(loss, logits, labels, weight=None, **kwargs):
    """Values by name and the gradient of their sum."""
    logits = logits.clone().requires_grad_()
    values = loss(logits, labels, weight, **kwargs)
    if not isinstance(values, dict):
        values = dict(loss=values)
    sum(value.sum() for value in values.values()).backward()
    return {k: v.detach() for k, v in values.items()} | dict(grad=logits.grad)


def is_equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize('settings', [
    dict(),
    dict(p=0.),
    dict(q=0., eps=1e-3),
    dict(return_dict=False, loss_weight=0.3),
    dict(reduction='sum'),
    dict(reduction='none'),
])
@pytest.mark.parametrize('avg_factor', [None, 17.])
def test_on_one_process_it_is_the_host_bit_by_bit(settings, avg_factor):
    if settings.get('reduction') == 'sum':
        avg_factor = None  # the host refuses both
    host, ours = SeesawLoss(num_classes=K, **settings), build(**settings)
    for logits, labels, weight in batches():
        for given in (weight, None):
            expected = step(host, logits, labels, given, avg_factor=avg_factor)
            result = step(ours, logits, labels, given, avg_factor=avg_factor)
            assert is_equal(result, expected)
            assert torch.equal(ours.cum_samples, host.cum_samples)
    assert ours.cum_samples.sum() == 2 * STEPS * R
    assert torch.equal(
        ours.get_activation(logits), host.get_activation(logits))
    assert is_equal(
        ours.get_accuracy(logits, labels), host.get_accuracy(logits, labels))


def test_a_batch_of_background_is_the_host_too():
    host, ours = SeesawLoss(num_classes=K), build()
    logits, labels, weight = next(batches())
    labels = torch.full_like(labels, K)
    expected = step(host, logits, labels, weight, avg_factor=R)
    assert is_equal(step(ours, logits, labels, weight, avg_factor=R), expected)
    assert expected['loss_cls_classes'] == 0


@pytest.mark.parametrize('avg_factor', [None, 1.])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_empty_batch_gives_zeros_with_a_gradient(avg_factor, reduction):
    if reduction == 'sum':
        avg_factor = None
    loss = build(reduction=reduction)
    result = step(
        loss,
        torch.zeros(0, K + 2),
        torch.zeros(0).long(),
        avg_factor=avg_factor)
    assert result.pop('grad').shape == (0, K + 2)
    assert [v.item() for v in result.values()] == [0, 0]
    assert loss.cum_samples.sum() == 0


@pytest.mark.parametrize('mode', ['eval', 'no_grad'])
def test_it_counts_only_while_it_trains(mode):
    loss = build()
    logits, labels, _ = next(batches())
    if mode == 'eval':
        loss.eval()
        loss(logits.requires_grad_(), labels)
    else:
        with torch.no_grad():
            loss(logits, labels)
    assert loss.cum_samples.sum() == 0


def test_saved_copied_and_resumed_it_goes_on_bit_by_bit():
    loss = build()
    steps = list(batches())
    for batch in steps[:3]:
        step(loss, *batch)
    copied = copy.deepcopy(loss)
    resumed, host = build(), SeesawLoss(num_classes=K)
    for other in (resumed, host):
        other.load_state_dict(pickle.loads(pickle.dumps(loss.state_dict())))
    for batch in steps[3:]:
        expected = step(loss, *batch)
        for other in (copied, resumed, host):
            assert is_equal(step(other, *batch), expected)
    assert torch.equal(copied.cum_samples, loss.cum_samples)


def test_under_bf16_autocast_it_is_float32():
    loss, same = build(), build()
    x = torch.randn(R, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(K + 2, 3, requires_grad=True)
    labels = next(batches())[1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = torch.nn.functional.linear(x, weight)
        values = loss(half, labels)
        scores = loss.get_activation(half)
    assert half.dtype == torch.bfloat16 and scores.dtype == torch.float32
    expected = same(half.detach().float(), labels)
    for name, value in values.items():
        torch.testing.assert_close(value.detach(), expected[name])
    sum(values.values()).backward()
    assert torch.isfinite(weight.grad).all()


def test_the_head_tells_the_number_of_categories_once():
    loss = MODELS.build(dict(type='SyncSeesawLoss'))
    assert 'cum_samples' not in loss.state_dict()
    with pytest.raises(ValueError, match='does not know its number'):
        loss(torch.zeros(1, K + 2), torch.zeros(1).long())
    assert loss.get_cls_channels(K) == loss.get_cls_channels(K) == K + 2
    assert loss.state_dict()['cum_samples'].shape == (K + 1, )
    with pytest.raises(ValueError, match=f'num_classes=9, .* counts {K} cat'):
        loss.get_cls_channels(9)
    fixed = MODELS.build(dict(type='SyncSeesawLoss', num_classes=K))
    with pytest.raises(ValueError, match=f'num_classes=9, .* counts {K} cat'):
        fixed.get_cls_channels(9)
    with pytest.raises(ValueError, match=rf'\(R, {K + 2}\), but got \(1, 3\)'):
        loss(torch.zeros(1, 3), torch.zeros(1).long())


# Rank 1 has no RoIs in the second step; the calls are counted.
STEPS_OF_A_RANK = '''
import torch
import torch.distributed as dist
from test_seesaw import batches, build, step
calls, plain = [], dist.all_reduce
def all_reduce(*args, **kwargs):
    calls.append(1)
    return plain(*args, **kwargs)
dist.all_reduce = all_reduce
loss, counts, values = build(), [], []
for i in range(3):
    rois = 0 if (rank, i) == (1, 1) else 40
    batch, = batches(seed=10 * rank + i, steps=1, rois=rois)
    values.append(step(loss, *batch))
    counts.append(loss.cum_samples.clone())
    assert len(calls) == i + 1, calls
with torch.no_grad():
    loss(*batch)
assert len(calls) == 3
result = counts, values
'''


def test_two_processes_count_as_one(two_processes):
    seen = two_processes(STEPS_OF_A_RANK)
    total = torch.zeros(K + 1)
    for i in range(3):
        parts = [
            next(batches(10 * rank + i, 1, 0 if (rank, i) == (1, 1) else R))
            for rank in range(2)
        ]
        for _, labels, _ in parts:
            total += torch.bincount(labels, minlength=K + 1)
        # The host with the counts of both, less the batch it adds itself.
        for (counts, values), batch in zip(seen, parts):
            assert torch.equal(counts[i], total)
            if len(batch[1]):
                host = SeesawLoss(num_classes=K)
                own = torch.bincount(batch[1], minlength=K + 1)
                host.cum_samples.copy_(total - own)
                assert is_equal(values[i], step(host, *batch))
            else:
                assert all(v.sum() == 0 for v in values[i].values())
