"""Means of remedies say how well they are known."""
import math

import numpy as np
import pytest

from eql_mmdet.reports.remedies import (ITEMS, T_95, Mean, Outcome, Remedy,
                                        best_first, by_remedy, mean_of,
                                        percent, remedy_table)

SOFTMAX = Remedy('softmax', 'plain', 'none', '9 steps')
EQL = Remedy('eql', 'rfs', 'none', '9 steps')


def outcome(remedy, seed, ap, few=0.1):
    values = {('federated', 300): dict.fromkeys(ITEMS, ap)}
    values['federated', 30] = dict.fromkeys(ITEMS, few)
    values['exhaustive', 300] = dict.fromkeys(ITEMS, 1 - ap)
    return Outcome(remedy, seed, values)


def test_the_interval_is_that_of_a_table_of_student():
    found = mean_of([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    # t = 4.303 of two degrees of freedom, s = 0.1.
    assert found.half_width == pytest.approx(4.303 * 0.1 / 3**0.5)
    assert found.number == 3


def test_an_interval_holds_the_truth_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(0.3, 0.05, (4000, 5))
    means = [mean_of(row) for row in draws]
    hits = [abs(m.value - 0.3) < m.half_width for m in means]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_quantiles_fall_towards_the_normal_one():
    assert all(a > b for a, b in zip(T_95[1:], T_95[2:]))
    assert T_95[-1] > 1.96
    assert mean_of([0., 1.] * 20).half_width == pytest.approx(
        T_95[-1] * np.std([0., 1.] * 20, ddof=1) / 40**0.5)


def test_one_seed_has_no_interval():
    found = mean_of([0.25])
    assert math.isnan(found.half_width)
    assert percent(found) == '25.00'
    assert percent(Mean(0.25, 0.012, 5)) == '25.00 ± 1.20'


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match='expected at least one value'):
        mean_of([])


def test_seeds_of_a_remedy_come_together():
    outcomes = [outcome(r, s, 0.1) for s in (0, 1) for r in (EQL, SOFTMAX)]
    found = by_remedy(outcomes)
    assert list(found) == [EQL, SOFTMAX]
    assert [o.seed for o in found[EQL]] == [0, 1]


def test_the_best_has_the_highest_mean_of_its_protocol():
    outcomes = [
        outcome(SOFTMAX, 0, 0.1),
        outcome(SOFTMAX, 1, 0.5),
        outcome(EQL, 0, 0.4)
    ]
    assert best_first(outcomes, 'federated', 300) == [EQL, SOFTMAX]
    assert best_first(outcomes, 'exhaustive', 300) == [SOFTMAX, EQL]


def test_a_line_has_the_means_of_every_number_of_detections():
    outcomes = [outcome(SOFTMAX, 0, 0.1), outcome(SOFTMAX, 1, 0.2)]
    head, _, line = remedy_table(outcomes, 'federated', (300, 30)).splitlines()
    assert head.split(' | ')[-8:-4] == [f'{item}@300' for item in ITEMS]
    cells = line.strip('| ').split(' | ')
    assert cells[:5] == ['softmax', 'plain', 'none', '9 steps', '2']
    assert cells[5] == f'15.00 ± {12.706 * 5:.2f}'
    assert cells[9:] == ['10.00 ± 0.00'] * 4
