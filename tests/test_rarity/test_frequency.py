"""Tails and repeat factors against the paper's table and plain loops."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.rarity.frequency import (category_frequency, exponential_decay,
                                        gompertz_decay, repeat_factors,
                                        tail_mask, tail_ratio, tail_table,
                                        threshold_for_tail_ratio)

# Table 2 of the paper: lambda (1e-3), then tail ratio (%) and number of
# categories with D = 57,263 (the paper) and with D = 56,740 (its code).
TABLE_2 = [
    (0, 0, 0, 0, 0),
    (0.176, 0.93, 454, 0.83, 434),
    (0.5, 3.14, 694, 3.14, 694),
    (0.8, 4.88, 792, 4.88, 792),
    (1.5, 7.84, 888, 7.84, 888),
    (1.76, 9.09, 915, 8.94, 912),
    (2.0, 9.83, 929, 9.83, 929),
    (3.0, 13.13, 977, 13.04, 976),
    (5.0, 18.18, 1023, 17.89, 1021),
]


@pytest.fixture(scope='module')
def lvis():
    return load_counts('lvis_v0.5')


@pytest.mark.parametrize('row', TABLE_2)
@pytest.mark.parametrize('num_images', [57263, None])
def test_tail_ratios_equal_table_2_of_the_paper(lvis, row, num_images):
    threshold, *columns = row
    ratio, categories = columns[:2] if num_images else columns[2:]
    mask = tail_mask(category_frequency(lvis, num_images), threshold * 1e-3)
    assert mask.sum() == categories
    measured = 100 * tail_ratio(lvis.image_count, mask)
    assert measured == pytest.approx(ratio, abs=0.005)


def test_released_threshold_protects_all_rare_and_common(lvis):
    mask = tail_mask(category_frequency(lvis), 1.77e-3).bool().tolist()
    assert mask == [group in 'rc' for group in lvis.groups]
    assert max(lvis.image_count[mask]) == 100
    assert min(lvis.image_count[np.logical_not(mask)]) == 102


@pytest.mark.parametrize('threshold, exact', [(1.0061e-3, False),
                                              (1.0062e-3, True),
                                              (1.0162e-3, True),
                                              (1.0163e-3, False),
                                              (1.1e-3, False)])
def test_exact_cut_of_lvis_v1(threshold, exact):
    counts = load_counts('lvis_v1')
    mask = tail_mask(category_frequency(counts), threshold).bool().tolist()
    assert (mask == [group in 'rc' for group in counts.groups]) == exact


def test_threshold_is_strict():
    frequency = torch.tensor([0.25, 0.5])
    assert tail_mask(frequency, 0.25).tolist() == [0, 0]
    assert tail_mask(frequency, 0.26).tolist() == [1, 0]


@given(
    st.lists(st.floats(0, 1), max_size=9), st.floats(1, 1e4),
    st.floats(0.5, 4))
@settings(deadline=None)
def test_exponential_decay_equals_a_plain_loop(frequency, a, n):
    result = exponential_decay(
        torch.tensor(frequency, dtype=torch.float64), a, n)
    expected = [max(0., 1 - (a * f)**n) for f in frequency]
    np.testing.assert_allclose(result, expected, atol=1e-9)


@given(
    st.lists(st.floats(0, 1), max_size=9), st.floats(0.01, 1),
    st.floats(0.1, 200), st.floats(1, 1e4))
@settings(deadline=None)
def test_gompertz_decay_equals_a_plain_loop(frequency, a, b, c):
    result = gompertz_decay(
        torch.tensor(frequency, dtype=torch.float64), a, b, c)
    expected = [1 - a * math.exp(-b * math.exp(-c * f)) for f in frequency]
    np.testing.assert_allclose(result, expected, atol=1e-9)


@pytest.mark.parametrize('decay, half', [
    (lambda f: exponential_decay(f, 400, 2), math.sqrt(0.5) / 400),
    (lambda f: gompertz_decay(f, 1, 80, 3000),
     math.log(80 / math.log(2)) / 3000),
])
def test_decays_of_the_paper_fall_from_one_to_zero(decay, half):
    frequency = torch.linspace(0, 0.02, 1000).double()
    weight = decay(frequency)
    assert weight[0] == 1 and weight[-1] < 1e-12
    assert (weight.diff() <= 0).all()
    assert decay(torch.tensor([half]).double()).item() == pytest.approx(0.5)


@pytest.mark.parametrize('decay, values', [
    (exponential_decay, (0, 2)),
    (exponential_decay, (400, -1)),
    (exponential_decay, (float('nan'), 2)),
    (gompertz_decay, (0, 80, 3000)),
    (gompertz_decay, (1.1, 80, 3000)),
    (gompertz_decay, (1, 0, 3000)),
    (gompertz_decay, (1, 80, -1)),
])
def test_decay_out_of_range_is_named(decay, values):
    with pytest.raises(ValueError, match=f'decay .*got a={values[0]}'):
        decay(torch.ones(3), *values)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    # Rounded, since shares that differ by rounding count as equal.
    st.floats(0.001, 1.0).map(lambda target: round(target, 6)))
@settings(deadline=None)
def test_threshold_for_a_tail_ratio_is_the_largest_that_fits(counts, target):
    counts = np.array(counts)
    frequency = torch.from_numpy(counts).float() / 61
    fitting = [
        level for level in np.unique(counts)
        if counts[counts <= level].sum() / counts.sum() <= target
    ]
    if not fitting:
        with pytest.raises(ValueError, match='tail ratio of at least'):
            threshold_for_tail_ratio(frequency, counts, target)
        return
    threshold = threshold_for_tail_ratio(frequency, counts, target)
    expected = [float(n <= fitting[-1]) for n in counts]
    assert tail_mask(frequency, threshold).tolist() == expected


def test_tail_table_rises_and_names_the_groups(lvis):
    rows = tail_table(lvis)
    assert [r.threshold for r in rows] == sorted({r.threshold for r in rows})
    for row in rows:
        assert sum(row.groups) == row.protected
        mask = tail_mask(category_frequency(lvis), row.threshold)
        assert row.protected == mask.sum()
        assert row.tail_ratio == tail_ratio(lvis.image_count, mask)
    assert rows[-1].tail_ratio <= 0.5 < rows[-1].tail_ratio + 0.01


def plain_repeat_factors(images, threshold):
    """Gupta et al., LVIS: three steps, one image after another."""
    count = {}
    for labels in images:
        for label in set(labels):
            count[label] = count.get(label, 0) + 1
    category = {
        label: max(1, math.sqrt(threshold / (n / len(images))))
        for label, n in count.items()
    }
    return [max([category[x] for x in labels] + [1.]) for labels in images]


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=40),
    st.floats(0.001, 1.0))
@settings(deadline=None)
def test_repeat_factors_equal_a_plain_loop(images, threshold):
    pairs = [(i, x) for i, labels in enumerate(images) for x in set(labels)]
    image, label = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    factors = repeat_factors(image, label, len(images), threshold)
    np.testing.assert_allclose(factors,
                               plain_repeat_factors(images, threshold))


@pytest.mark.parametrize('threshold', [0, -1, 1.01])
def test_repeat_threshold_out_of_range_is_named(threshold):
    with pytest.raises(ValueError, match=rf'in \(0, 1\], but got {threshold}'):
        repeat_factors(np.zeros(1, int), np.zeros(1, int), 1, threshold)
