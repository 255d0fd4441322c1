"""Comparisons see what is wrong, and never take nothing for equal."""
import numpy as np
import oracle_compare as compare
import pytest
from oracle_compare import Row

NOTHING = np.zeros((0, 4))


@pytest.mark.parametrize('seen, holds', [(0., True), (2., True), (2.1, False),
                                         (np.nan, False), (np.inf, False)])
def test_only_a_number_within_the_tolerance_holds(seen, holds):
    assert Row('what', 'value', seen, 2.).holds is holds


def test_rows_are_held_and_none_are_refused():
    compare.assert_rows([Row('what', 'value', 0., 1.)])
    for rows in ([], [Row('what', 'value', np.nan, 1.)]):
        with pytest.raises(AssertionError):
            compare.assert_rows(rows)


def test_differences_are_the_largest():
    assert compare.difference([1, 2.5], [1, 2]) == 0.5
    assert compare.relative([1, 2.5, 0], [1, 2, 0]) == 0.25
    assert compare.different([1, 2, 3], [1, 3, 2]) == 2
    assert compare.of_largest([1, 2.5], np.array([1, -2])) == 2.25
    assert compare.max_of([1, 2]) == 2


@pytest.mark.parametrize('measure', [compare.difference, compare.relative])
def test_what_is_not_a_number_is_no_difference_of_zero(measure):
    assert np.isnan(measure([0, np.nan], [0, 0]))
    assert np.isnan(measure([], []))
    assert np.isnan(compare.max_of([1, measure([np.nan], [0]), 1]))


@pytest.mark.parametrize(
    'measure', [compare.difference, compare.relative, compare.different])
def test_another_shape_is_infinitely_different(measure):
    assert measure([[1, 1]], [1, 1]) == np.inf


def test_something_instead_of_nothing_is_infinitely_different():
    assert compare.relative([1e-20], [0]) == np.inf


@pytest.fixture
def boxes():
    return np.arange(400.).reshape(100, 4)


def rows_of(found, labels, recorded):
    pairs = compare.pair(found, labels, recorded, np.zeros(100), 2e-3)
    return list(compare.pair_rows('boxes', found, recorded, pairs))


def test_boxes_are_paired_in_any_order_and_one_in_a_hundred_may_miss(boxes):
    found = boxes[::-1] + 1e-3
    found[0] += 1
    number, apart = rows_of(found, np.zeros(100), boxes)
    assert (number.seen, number.allowed) == (1, 1)
    assert apart.seen == pytest.approx(1e-3)


def test_boxes_of_another_label_are_no_partners(boxes):
    labels = np.zeros(100)
    labels[:2] = 1
    assert rows_of(boxes, labels, boxes)[0].seen == 2


def test_two_boxes_share_no_partner(boxes):
    found = boxes.copy()
    recorded = boxes.copy()
    recorded[1] = recorded[0]
    assert rows_of(found, np.zeros(100), recorded)[0].seen == 1


@pytest.mark.parametrize('found', [NOTHING, np.full((100, 4), np.nan)])
def test_no_boxes_are_a_failure(boxes, found):
    number, apart = rows_of(found, np.zeros(len(found)), boxes)
    assert number.seen == 100 and not number.holds
    assert np.isnan(apart.seen) and not apart.holds
