"""NormalInitMaskHead: the host's mask head with a quiet start."""
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS

SIZES = dict(num_convs=2, in_channels=8, conv_out_channels=64, num_classes=50)


def build(std):
    head = MODELS.build(
        dict(type='mmdet.NormalInitMaskHead', predictor_std=std, **SIZES))
    head.init_weights()
    return head


@pytest.mark.parametrize('std', [0.001, 0.1])
def test_predictor_has_the_spread_and_the_rest_is_the_host(std):
    torch.manual_seed(0)
    head = build(std)
    assert head.conv_logits.weight.std().item() == pytest.approx(std, rel=0.05)
    assert (head.conv_logits.bias == 0).all()
    torch.manual_seed(0)
    host = FCNMaskHead(**SIZES)
    host.init_weights()
    theirs = host.state_dict()
    for name, value in head.state_dict().items():
        assert torch.equal(value,
                           theirs[name]) == (name
                                             != 'conv_logits.weight'), name


def test_first_masks_are_undecided():
    head = build(0.001)
    scores = head(torch.randn(3, 8, 14, 14)).sigmoid()
    assert scores.shape == (3, 50, 28, 28)
    torch.testing.assert_close(
        scores, torch.full_like(scores, 0.5), rtol=0, atol=0.02)


@pytest.mark.parametrize('std', [0, -0.001, float('nan')])
def test_spread_that_is_not_positive_is_named(std):
    with pytest.raises(ValueError, match=f'above 0, but got {std}'):
        build(std)
