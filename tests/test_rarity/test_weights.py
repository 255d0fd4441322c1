"""Class weights, priors and chances against arithmetic by hand."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.annotations.category_counts import CategoryCounts, load_counts
from eql_mmdet.rarity.weights import class_weights, draw_weights, log_prior

FUNCTIONS = [
    lambda counts: class_weights(counts, 0.5), log_prior,
    lambda counts: draw_weights(counts, 0.5)
]


def counts_of(images, objects=None):
    images = np.array(images, dtype=np.int64)
    names = tuple(f'c{k}' for k in range(len(images)))
    return CategoryCounts(
        source='test',
        num_images=10**7,
        ids=tuple(range(len(images))),
        names=names,
        groups=('c', ) * len(images),
        image_count=images,
        instance_count=images if objects is None else np.array(objects))


def test_class_weights_equal_arithmetic():
    # 4^-0.5, 1 and 9^-0.5, over their mean by objects.
    raw = [1 / 2, 1, 1 / 3]
    mean = (6 * raw[0] + 1 * raw[1] + 9 * raw[2]) / 16
    result = class_weights(counts_of([4, 1, 9], [6, 1, 9]), 0.5)
    assert result.tolist() == pytest.approx([w / mean for w in raw])
    assert result.dtype == torch.float32


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.floats(0, 1),
    st.integers(0, 50))
@settings(deadline=None, derandomize=True, database=None)
def test_the_mean_weight_of_an_object_is_one(images, power, more):
    images = [1, *images]
    objects = [n + more * (n > 0) for n in images]
    weight = class_weights(counts_of(images, objects), power).double()
    mean = (torch.tensor(objects) * weight).sum() / sum(objects)
    assert mean.item() == pytest.approx(1, rel=1e-6)
    order = np.argsort(images, kind='stable')
    assert (weight[order].diff() <= 0).all() and torch.isfinite(weight).all()


def test_power_zero_weighs_all_exactly_alike():
    weight = class_weights(load_counts('lvis_v0.5'), 0.)
    assert torch.equal(weight, torch.ones(1230))


def test_power_one_gives_every_category_the_same_sum():
    counts = counts_of([4, 1, 10])
    weighted = class_weights(counts, 1.) * torch.tensor([4, 1, 10])
    torch.testing.assert_close(weighted, torch.full((3, ), 5.))


def test_a_category_without_images_weighs_as_one_with_one_image():
    weight = class_weights(counts_of([0, 1, 9]), 0.5)
    assert weight[0] == weight[1] == 3 * weight[2]
    prior = log_prior(counts_of([0, 1, 9]))
    assert prior[0] == prior[1]


def test_log_prior_equals_arithmetic():
    prior = log_prior(counts_of([4, 1, 0, 10]))
    expected = [math.log(n / 16) for n in (4, 1, 1, 10)]
    assert prior.tolist() == pytest.approx(expected)
    assert prior.exp().sum().item() == pytest.approx(1)


def test_equal_counts_have_a_uniform_prior():
    prior = log_prior(counts_of([7] * 5))
    torch.testing.assert_close(prior, torch.full((5, ), -math.log(5)))


@pytest.mark.parametrize('power, expected', [(0, [1, 1, 0, 1]),
                                             (0.5, [2, 1, 0, 3]),
                                             (1, [4, 1, 0, 9])])
def test_chances_equal_arithmetic_and_need_an_image(power, expected):
    assert draw_weights(counts_of([4, 1, 0, 9]), power).tolist() == expected


@pytest.mark.parametrize('power', [-0.1, 1.1, math.nan, math.inf])
@pytest.mark.parametrize('function', [class_weights, draw_weights])
def test_powers_out_of_range_are_named(function, power):
    with pytest.raises(ValueError, match=rf'in \[0, 1\], but got {power}'):
        function(counts_of([1, 2]), power)


@pytest.mark.parametrize('function', FUNCTIONS)
def test_a_set_without_images_is_named(function):
    with pytest.raises(ValueError, match='none of the 2 categories of test'):
        function(counts_of([0, 0]))
