"""The losses teach on a GPU what they teach on the CPU."""
import copy

import pytest
import torch

from eql_mmdet.losses.balanced_softmax import BalancedSoftmaxLoss
from eql_mmdet.losses.class_weights import ClassWeightedLoss
from eql_mmdet.losses.equalization import EqualizationLoss
from eql_mmdet.losses.equalization_v2 import EqualizationLossV2
from eql_mmdet.losses.federated import FederatedLoss
from eql_mmdet.losses.seesaw import SyncSeesawLoss
from eql_mmdet.losses.softmax_equalization import SoftmaxEqualizationLoss

pytestmark = pytest.mark.gpu
R, N = 700, 3
#: Share of the largest gradient that rounding may change.
ROUNDING = dict(float32=1e-6, float16=1e-3, bfloat16=8e-3)


def batch(columns):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(R, columns, generator=generator) * 4 - 3
    labels = torch.randint(0, 1231, (R, ), generator=generator)
    labels[R // 4:] = 1230
    return logits, labels


def differing(loss_cls, columns, dtype, device, **sets):
    """List what of value, gradient, scores and accuracy is not the CPU's."""
    found = []
    logits, labels = batch(columns)
    logits = logits.to(getattr(torch, dtype))
    given = loss_cls
    for place in (torch.device('cpu'), device):
        # One with a memory must not remember the other pass.
        loss_cls = copy.deepcopy(given).to(place)
        leaf = logits.to(place).detach().requires_grad_()
        value = loss_cls(leaf, labels.to(place), **{
            k: v.to(place)
            for k, v in sets.items()
        })
        value.backward()
        tensors = dict(
            value=value,
            gradient=leaf.grad,
            scores=loss_cls.get_activation(leaf),
            accuracy=loss_cls.get_accuracy(leaf,
                                           labels.to(place))['acc_classes'])
        tensors |= dict(loss_cls.named_buffers())
        assert all(t.device.type == place.type for t in tensors.values())
        found.append({k: t.detach().float().cpu() for k, t in tensors.items()})
    on_cpu, on_device = found
    return [
        name for name, cpu in on_cpu.items()
        if on_device[name].shape != cpu.shape or not torch.allclose(
            on_device[name],
            cpu,
            rtol=1e-5,
            atol=ROUNDING[dtype] * cpu.abs().max().item())
    ]


@pytest.mark.parametrize('dtype', ROUNDING)
@pytest.mark.parametrize('variant', [
    dict(frequency_threshold=1.77e-3),
    dict(frequency_threshold=1.77e-3, exclude_background=False),
    dict(decay=dict(type='gompertz', a=1, b=80, c=3000)),
])
def test_equalization_loss_is_that_of_the_cpu(variant, dtype, device):
    loss_cls = EqualizationLoss('lvis_v0.5', **variant)
    assert differing(loss_cls, 1230, dtype, device) == []


def test_the_verified_rule_is_that_of_the_cpu(device):
    generator = torch.Generator().manual_seed(1)
    loss_cls = EqualizationLoss(
        'lvis_v0.5', frequency_threshold=1.77e-3, keep_verified=True)
    assert differing(
        loss_cls,
        1230,
        'float32',
        device,
        verified=torch.rand(N, 1230, generator=generator) < 0.02,
        image_index=torch.arange(R) % N) == []


@pytest.mark.parametrize('dtype', ROUNDING)
@pytest.mark.parametrize('gamma', [0., 0.9, 1.])
def test_softmax_loss_is_that_of_the_cpu(gamma, dtype, device, monkeypatch):
    # Every device draws numbers of its own; here it is given the same.
    drawn = torch.rand(R, 1231, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(torch, 'rand', lambda _, device: drawn.to(device))
    loss_cls = SoftmaxEqualizationLoss(
        'lvis_v0.5', gamma=gamma, frequency_threshold=1.77e-3)
    assert differing(loss_cls, 1231, dtype, device) == []


@pytest.mark.parametrize('dtype', ROUNDING)
def test_eql_v2_and_its_memory_are_those_of_the_cpu(dtype, device):
    loss_cls = EqualizationLossV2(1230)
    loss_cls.pos_neg.copy_(torch.linspace(0, 1.5, 1230))
    assert differing(loss_cls, 1231, dtype, device) == []


def test_softmax_loss_draws_on_the_device(device):
    loss_cls = SoftmaxEqualizationLoss(
        'lvis_v0.5', gamma=0.9, frequency_threshold=1., reduction='none')
    logits = torch.zeros(R, 1231, device=device)
    labels = torch.full((R, ), 1230, device=device)
    # All categories are tail and all logits equal: log(1 + number kept).
    kept = loss_cls.to(device)(logits, labels).exp().cpu() - 1
    assert kept.mean().item() == pytest.approx(123, rel=0.02)
    assert kept.std() > 5


@pytest.mark.parametrize('dtype', ROUNDING)
def test_federated_loss_is_that_of_the_cpu(dtype, device, monkeypatch):
    drawn = torch.rand(1230, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(torch, 'rand', lambda _, device: drawn.to(device))
    # More than the labels of the batch, so that others are drawn.
    loss_cls = FederatedLoss('lvis_v0.5', num_sampled=400)
    assert differing(loss_cls, 1230, dtype, device) == []


@pytest.mark.parametrize('dtype', ROUNDING)
@pytest.mark.parametrize('kind, settings', [
    (BalancedSoftmaxLoss, dict()),
    (ClassWeightedLoss, dict(power=0.5)),
])
def test_counts_in_the_softmax_are_those_of_the_cpu(kind, settings, dtype,
                                                    device):
    loss_cls = kind('lvis_v0.5', **settings)
    assert differing(loss_cls, 1231, dtype, device) == []


@pytest.mark.parametrize('dtype', ROUNDING)
def test_seesaw_is_that_of_the_cpu(dtype, device):
    loss_cls = SyncSeesawLoss(num_classes=1230, return_dict=False)
    labels = batch(1232)[1]
    loss_cls(torch.zeros(R, 1232, requires_grad=True), labels)
    counted = labels.bincount(minlength=1231).float()
    assert torch.equal(loss_cls.cum_samples, counted)
    assert differing(loss_cls, 1232, dtype, device) == []
