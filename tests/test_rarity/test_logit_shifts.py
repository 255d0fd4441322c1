"""What is added to logits: against loops over the papers' fractions."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.rarity.logit_shifts import (at_least_one, fracal_shift,
                                           logit_adjustment_shift,
                                           norcal_shift)

COUNTS = st.lists(st.integers(0, 10**5), min_size=1, max_size=12)
LOGITS = st.integers(0, 9999)


def some_logits(seed, channels):
    generator = np.random.default_rng(seed)
    return 3 * generator.standard_normal(channels)


def shifted_softmax(logits, shift):
    shifted = torch.tensor(logits).double()
    shifted[:-1] += shift.double()
    return shifted.softmax(dim=0).tolist()


@given(COUNTS, LOGITS, st.floats(0, 2))
@settings(deadline=None)
def test_norcal_is_the_fraction_of_the_paper(counts, seed, gamma):
    logits = some_logits(seed, len(counts) + 1)
    parts = [
        math.exp(z) / max(n, 1)**gamma for z, n in zip(logits[:-1], counts)
    ]
    total = sum(parts) + math.exp(logits[-1])
    expected = [part / total for part in parts]
    found = shifted_softmax(logits, norcal_shift(np.array(counts), gamma))
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-5)


@given(COUNTS, LOGITS, st.floats(0, 2))
@settings(deadline=None)
def test_logit_adjustment_is_a_division_by_the_prior(counts, seed, tau):
    logits = some_logits(seed, len(counts) + 1)
    seen = [max(n, 1) for n in counts]
    parts = [
        math.exp(z) / (n / sum(seen))**tau for z, n in zip(logits[:-1], seen)
    ]
    total = sum(parts) + math.exp(logits[-1])
    expected = [part / total for part in parts]
    shift = logit_adjustment_shift(np.array(counts), tau)
    found = shifted_softmax(logits, shift)
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-5)


@given(COUNTS)
@settings(deadline=None)
def test_fracal_takes_logarithms_of_base_10(counts):
    seen = [max(n, 1) for n in counts]
    expected = [-math.log10(n / sum(seen)) - math.log10(len(seen))
                for n in seen]  # yapf: disable
    np.testing.assert_allclose(
        fracal_shift(np.array(counts)), expected, atol=1e-5)


def test_by_hand():
    counts = np.array([100, 1, 0])
    log = math.log
    torch.testing.assert_close(
        norcal_shift(counts, 0.5), torch.tensor([-log(10.), 0, 0]))
    torch.testing.assert_close(
        logit_adjustment_shift(counts, 2.),
        2 * torch.tensor([log(1.02), log(102), log(102)]))
    torch.testing.assert_close(
        fracal_shift(counts),
        torch.tensor([-math.log10(300 / 102)] + [-math.log10(3 / 102)] * 2))


def test_equal_counts_leave_fracal_nothing_to_do():
    assert (fracal_shift(np.full(7, 30)) == 0).all()


@pytest.mark.parametrize('counts', [[3, 50, 7], [0, 1, 1]])
def test_without_strength_nothing_is_added(counts):
    counts = np.array(counts)
    assert (norcal_shift(counts, 0) == 0).all()
    assert (logit_adjustment_shift(counts, 0) == 0).all()


def test_logit_adjustment_is_norcal_with_another_background():
    """Among the categories both are the same; a constant is between them."""
    counts = np.array([1, 20, 300])
    difference = logit_adjustment_shift(counts, 0.6) - norcal_shift(
        counts, 0.6)
    torch.testing.assert_close(difference,
                               torch.full((3, ), 0.6 * math.log(321)))


def test_no_image_counts_as_one():
    assert at_least_one(np.array([0, 1, 2])).tolist() == [1, 1, 2]
    for shift in (norcal_shift(np.zeros(3, int), 0.6),
                  logit_adjustment_shift(np.zeros(3, int), 1.),
                  fracal_shift(np.array([0, 0, 10**6]))):
        assert torch.isfinite(shift).all() and shift.dtype == torch.float32
