"""The pictures show what the polygons say."""
import itertools

import numpy as np
import pytest
import shapely
from pycocotools import mask as coco_mask

from eql_mmdet.synthetic.tiny_scene import (COLOURS, SHAPES, TEXTURES, Look,
                                            draw_scene)

SIZE = 128


def draw(looks, seed, size=SIZE):
    return draw_scene(looks, size, np.random.default_rng(seed))


def choose_looks(number, seed):
    rng = np.random.default_rng(seed)
    return [
        Look(*(rng.choice(list(table))
               for table in (COLOURS, TEXTURES, SHAPES)))
        for _ in range(number)
    ]


@pytest.mark.parametrize('shape', SHAPES)
def test_shapes_are_simple_and_of_equal_area(shape):
    polygon = shapely.Polygon(SHAPES[shape])
    assert polygon.is_valid
    assert polygon.area == pytest.approx(1)
    assert shapely.get_coordinates(polygon.centroid) == pytest.approx(0)


def test_there_are_enough_looks_for_lvis():
    assert len(COLOURS) * len(TEXTURES) * len(SHAPES) >= 1230


@pytest.mark.parametrize('one, other', [*itertools.combinations(COLOURS, 2)])
def test_no_two_colours_are_alike(one, other):
    (base, second), tones = COLOURS[one], np.array(COLOURS[other])
    assert np.abs(np.array(base) - tones[0]).max() > 50
    # Half of a texture is in the second tone.
    assert np.abs(np.array([second, base]) - tones).max() > 50


@pytest.mark.parametrize('one, other', [*itertools.combinations(TEXTURES, 2)])
def test_no_two_textures_are_alike(one, other):
    x, y = np.meshgrid(*[np.linspace(-0.5, 0.5, 50)] * 2)
    assert (TEXTURES[one](x, y) != TEXTURES[other](x, y)).mean() > 0.15


@pytest.mark.parametrize('seed', range(8))
def test_the_pixels_of_an_object_are_those_of_its_polygons(seed):
    looks = [look._replace(texture='plain') for look in choose_looks(7, seed)]
    picture, objects = draw(looks, seed)
    for i, parts in enumerate(objects):
        # The same picture, were it not for the colour of this object.
        colour = 'black' if looks[i].colour == 'white' else 'white'
        repainted = [*looks]
        repainted[i] = looks[i]._replace(colour=colour)
        difference = np.abs(draw(repainted, seed)[0].astype(int) -
                            picture).max(axis=2)
        drawn = difference > 0.3 * difference.max()
        rings = [shapely.get_coordinates(part)[:-1].ravel() for part in parts]
        true = coco_mask.decode(
            coco_mask.merge(coco_mask.frPyObjects(rings, SIZE, SIZE))) > 0
        if true.sum() > 100:
            assert (drawn & true).sum() > 0.9 * (drawn | true).sum()


@pytest.mark.parametrize('number, size', [(1, 64), (8, 128), (60, 64)])
@pytest.mark.parametrize('seed', range(3))
def test_every_object_is_visible_inside_the_picture(number, size, seed):
    picture, objects = draw(choose_looks(number, seed), seed, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert len(objects) == number
    frame = shapely.box(0, 0, size, size)
    for parts in objects:
        assert sum(part.area for part in parts) > 12
        assert all(part.is_valid and part.within(frame) for part in parts)
        assert not any(part.interiors for part in parts)


def test_objects_hide_one_another():
    objects = [
        shapely.MultiPolygon(parts)
        for parts in draw(choose_looks(20, 0), 0)[1]
    ]
    pairs = list(itertools.combinations(objects, 2))
    # Shapes at random never touch, unless one is cut out by the other.
    assert sum(one.distance(other) < 0.02 for one, other in pairs) > 5
    # Only holes, which the format cannot express, are covered twice.
    for one, other in pairs:
        assert one.intersection(other).area < 0.06 * max(one.area, other.area)


def test_objects_of_all_sizes_occur():
    areas = [
        sum(part.area for part in parts) for seed in range(150)
        for parts in draw(choose_looks(3, seed), seed)[1]
    ]
    small, medium, large = np.histogram(areas, [0, 32**2, 96**2, SIZE**2])[0]
    assert small > medium > large > 0


def test_a_picture_without_objects_is_a_wall():
    picture, objects = draw([], 0)
    assert objects == []
    assert 0 < picture.std() < 40


def test_too_many_objects_are_refused():
    with pytest.raises(ValueError, match='expected fewer objects .* got 400'):
        draw(choose_looks(400, 0), 0, 64)
