"""Box counting: against known dimensions and a loop over sets of cells."""
import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.annotations.reader import parse_annotations
from eql_mmdet.rarity.fractal_dimension import (box_centres, fractal_dimension,
                                                occupied_cells)


def dimension(centres):
    centres = np.array(centres, float).reshape(-1, 2)
    labels = np.zeros(len(centres), np.int64)
    return fractal_dimension(labels, centres, 1)[0]


def middles(number):
    return (np.arange(number) + 0.5) / number


def plane(number):
    return [(x, y) for x in middles(number) for y in middles(number)]


@pytest.mark.parametrize('number', [2, 8, 32, 90])
def test_all_over_the_image_it_is_2(number):
    assert dimension(plane(number)) == pytest.approx(2)


@pytest.mark.parametrize('number', [4, 100, 5000])
@pytest.mark.parametrize('x', [0, 0.37, 1])
def test_on_a_line_it_is_1(number, x):
    assert dimension([(x, y) for y in middles(number)]) == pytest.approx(1)
    assert dimension([(y, x) for y in middles(number)]) == pytest.approx(1)


@pytest.mark.parametrize('number', [0, 1, 3, 4, 400])
def test_in_one_place_it_is_bounded_below(number):
    assert dimension([(0.6, 0.2)] * number) == 1


def test_a_carpet_lies_between_a_line_and_the_plane():
    """Sierpinski's has log 8 / log 3 = 1.893."""
    cells = [(x, y) for x in range(27) for y in range(27)]
    for power in (1, 3, 9):
        cells = [(x, y) for x, y in cells
                 if not x // power % 3 == y // power % 3 == 1]
    value = dimension([((x + .5) / 27, (y + .5) / 27) for x, y in cells])
    assert value == pytest.approx(math.log(8) / math.log(3), abs=0.06)


@pytest.mark.parametrize('number, cells, value', [
    (3, [(0, 0), (0, 1), (1, 0)], 1),
    (4, [(0, 0), (0, 1), (1, 0)], math.log2(3)),
    (4, [(0, 0), (1, 1)], 1),
    (8, [(0, 0), (0, 1), (1, 0), (1, 1)], 2),
])
def test_four_boxes_are_the_fewest_for_a_line(number, cells, value):
    """Up to eight boxes only the 2 x 2 cells count: D = log2 N(2)."""
    places = [cells[i % len(cells)] for i in range(number)]
    centres = [(0.25 + x / 2, 0.25 + y / 2) for x, y in places]
    assert dimension(centres) == pytest.approx(value)


def plain_dimension(points):
    """Cells in sets, and the line through them by NumPy."""
    grids = [g for g in range(1, 65) if g * g <= len(points)]
    if len(grids) < 2:
        return 1.
    cells = [
        len({(min(int(x * g), g - 1), min(int(y * g), g - 1))
             for x, y in points}) for g in grids
    ]
    return max(1., np.polyfit(np.log(grids), np.log(cells), 1)[0])


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=4),
    st.integers(0, 9999), st.floats(0.05, 1))
@settings(deadline=None, max_examples=40)
def test_it_equals_a_loop_over_the_categories(sizes, seed, extent):
    generator = np.random.default_rng(seed)
    points = [extent * generator.random((size, 2)) for size in sizes]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = generator.permutation(len(labels))
    found = fractal_dimension(labels[order],
                              np.concatenate(points)[order], len(sizes))
    expected = [plain_dimension(item) for item in points]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_finest_grid_has_64_cells_a_side():
    points = np.random.default_rng(0).random((10_000, 2))
    assert plain_dimension(points) == pytest.approx(dimension(points))


def test_cells_at_and_beyond_the_border_are_the_last_ones():
    labels = np.array([0, 0, 0, 1])
    centres = np.array([(1., 1.), (0.99, 0.99), (1.2, 1.), (-0.3, 0.)])
    assert occupied_cells(labels, centres, 4, 3).tolist() == [1, 1, 0]


FILE = dict(
    images=[
        dict(id=1, file_name='a.png', height=100, width=200),
        dict(id=2, file_name='b.png', height=50, width=50)
    ],
    categories=[dict(id=5, name='disc'),
                dict(id=6, name='bar')],
    annotations=[
        dict(id=1, image_id=1, category_id=6, bbox=[20, 20, 40, 10], area=9),
        dict(id=2, image_id=2, category_id=5, bbox=[0, 10, 50, 20], area=9),
        dict(id=3, image_id=2, category_id=6, bbox=[40, 30, 0.4, 9], area=9),
    ])


def parsed(content):
    from json import dumps
    return parse_annotations(dumps(content).encode(), 'file')


def test_centres_are_shares_of_width_and_height_of_trained_boxes():
    labels, centres = box_centres(parsed(FILE))
    assert labels.tolist() == [1, 0]  # the third is not trained
    np.testing.assert_allclose(centres, [(0.2, 0.25), (0.5, 0.4)])


def test_centres_have_the_labels_of_the_names():
    labels, centres = box_centres(parsed(FILE), ('bar', 'disc'))
    assert labels.tolist() == [0, 1]
    labels, centres = box_centres(parsed(FILE), ('disc', ))
    assert labels.tolist() == [0]
    np.testing.assert_allclose(centres, [(0.5, 0.4)])


def test_a_crowd_has_no_place():
    content = copy.deepcopy(FILE)
    content['annotations'][0]['iscrowd'] = 1
    assert box_centres(parsed(content))[0].tolist() == [0]
