"""The plan of the synthetic set falls, fills and stays silent as LVIS."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.synthetic.tiny_plan import (choose_content, choose_looks,
                                           image_counts, plan_images)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_counts_at_full_size_are_those_of_lvis():
    lvis = np.sort(load_counts('lvis_v0.5').image_count)[::-1]
    counts = image_counts(1230, 57263, 1, (lvis[0] / 57263, 0.01))
    assert counts.tolist() == lvis.tolist()


@settings(deadline=None)
@given(st.integers(12, 1230), st.floats(0.4, 50), st.floats(0.1, 0.6))
def test_counts_fall_and_fit(num_categories, per_category, least):
    num_images = max(40, round(per_category * num_categories))
    counts = image_counts(num_categories, num_images, 1, (0.6, least))
    assert len(counts) == num_categories
    assert (np.diff(counts) <= 0).all()
    assert round(least * num_images) <= counts[0] <= 0.6 * num_images + 1
    assert counts[-1] == 1
    assert counts.sum() <= 6 * num_images


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match='for 60 categories .* got 20'):
        image_counts(60, 20, 3, (0.6, 0.6))


@pytest.mark.parametrize('number', [12, 60, 200, 1230])
def test_looks_differ(number):
    looks = choose_looks(number, rng())
    assert len(set(looks)) == len(looks) == number


def test_a_rare_look_differs_from_a_frequent_one_in_its_shape_only():
    looks = choose_looks(60, rng())
    frequent = {(look.colour, look.texture) for look in looks[:12]}
    assert {(look.colour, look.texture) for look in looks} == frequent


def test_few_categories_look_least_alike():
    assert {look.texture
            for look in choose_looks(12, rng())} == {'plain', 'striped'}


@pytest.mark.parametrize('num_categories, num_images', [(12, 40), (60, 40),
                                                        (60, 1000),
                                                        (1230, 492)])
def test_every_category_is_in_as_many_images_as_planned(
        num_categories, num_images):
    counts = image_counts(num_categories, num_images, 1, (0.6, 0.3))
    categories, crowded = plan_images(counts, num_images, rng())
    assert all(len(set(image)) == len(image) for image in categories)
    found = np.bincount(np.concatenate(categories).astype(int))
    assert found.tolist() == counts.tolist()
    loads = np.array([len(image) for image in categories])
    assert (loads == 0).any()
    assert loads[list(crowded)].mean() > 1.5 * loads.mean()


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 59), max_size=15), st.booleans(), st.booleans(),
    st.integers(0, 10**6))
def test_what_is_said_of_an_image_is_true(positive, crowded, unchecked, seed):
    content = choose_content(
        sorted(positive), crowded, unchecked, 60, rng(seed))
    annotated = content.drawn[content.annotated]
    silent = set(content.drawn[~content.annotated]) - positive
    assert set(annotated) == positive
    assert not set(content.negative) & set(content.drawn)
    assert set(content.not_exhaustive) == (
        set(content.drawn[~content.annotated]) & positive)
    assert bool(silent) == unchecked
    assert len(content.negative) <= 20


def test_some_images_are_annotated_in_part():
    parts = [
        choose_content([3, 5], False, False, 60, rng(seed)).not_exhaustive
        for seed in range(500)
    ]
    assert 30 < sum(len(categories) for categories in parts) < 90


def test_frequent_categories_come_in_greater_numbers():
    drawn = np.concatenate([
        choose_content([0, 59], False, False, 60, rng(seed)).drawn
        for seed in range(500)
    ])
    assert (drawn == 0).sum() > 1.2 * (drawn == 59).sum()


def test_crowded_images_have_more_objects():
    one, many = (
        np.mean([
            len(choose_content([0, 1], crowded, False, 60, rng(seed)).drawn)
            for seed in range(100)
        ]) for crowded in (False, True))
    assert many > 1.5 * one
