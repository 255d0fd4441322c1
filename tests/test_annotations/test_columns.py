"""Objects become columns: exact numbers, places of masks, parts."""
import json

import numpy as np
import pytest

from eql_mmdet.annotations import columns
from eql_mmdet.annotations.columns import object_columns, positions
from eql_mmdet.annotations.masks import (NONE, OTHER, POLYGONS, RLE, mask_kind,
                                         mask_kinds)
from eql_mmdet.annotations.reader import parse_annotations
from eql_mmdet.annotations.records import decode

MASKS = ('[[1, 2, 3, 4, 5, 6]]', '{"size": [8, 8], "counts": [64]}', 'null',
         '[]')


def file_of(*objects, spaces=' '):
    items = f'{spaces},{spaces}'.join(objects)
    return (f'{{"images": [{{"id": 1, "height": 8, "width": 8}}], '
            f'"categories": [{{"id": 1, "name": "a"}}], '
            f'"annotations":{spaces}[{spaces}{items}{spaces}]}}').encode()


def an_object(**fields):
    return json.dumps(
        dict(dict(image_id=1, category_id=1, bbox=[1, 2, 3, 4])
             | fields))


def columns_of(data):
    record, data = decode(data, 'a.json')
    return object_columns(record.annotations, data, 'a.json')


@pytest.mark.parametrize('part', [1, 2, 100])
@pytest.mark.parametrize('spaces', ['', ' ', '\n\t'])
def test_masks_are_found_in_the_file(part, spaces, monkeypatch):
    monkeypatch.setattr(columns, 'PART', part)
    data = file_of(
        *(f'{{"segmentation":{spaces}{mask}{spaces}, {an_object()[1:]}'
          for mask in MASKS),
        an_object(),
        spaces=spaces)
    found = columns_of(data)
    texts = [
        data[start:start + length].decode()
        for start, length in zip(found.starts, found.lengths)
    ]
    assert texts == [*MASKS, '']


@pytest.mark.parametrize('part', [1, 2, 100])
def test_columns_do_not_depend_on_the_parts(part, monkeypatch):
    objects = [
        dict(id=7, area=2.5, iscrowd=1),
        dict(id=10**30, ignore=True, bbox=[.5, 1, 2, 3]),
        dict(id=None, area=None)
    ]
    monkeypatch.setattr(columns, 'PART', part)
    found = columns_of(file_of(*(an_object(**item) for item in objects)))
    assert found.ids.tolist() == [7, 10**30, None]
    assert found.image_ids.dtype == np.int64
    np.testing.assert_equal(found.areas, [2.5, np.nan, np.nan])
    assert found.boxes.tolist() == [[1, 2, 3, 4], [.5, 1, 2, 3], [1, 2, 3, 4]]
    assert found.is_crowd.tolist() == [True, False, False]
    assert found.is_ignored.tolist() == [False, True, False]


def test_no_object_gives_empty_columns():
    found = columns_of(file_of())
    assert found.boxes.shape == (0, 4)
    assert len(found.ids) == len(found.starts) == 0


@pytest.mark.parametrize('part', [1, 2, 100])
@pytest.mark.parametrize('change, message', [
    (dict(bbox=[1, 2, '3', 4]), r'annotations\[2\].bbox\[2\] must be a '
     r'number, but is "3"'),
    (dict(area=10**400),
     r'annotations\[2\].area must be a number that is not so large'),
])
def test_the_place_does_not_depend_on_the_parts(part, change, message,
                                                monkeypatch):
    monkeypatch.setattr(columns, 'PART', part)
    with pytest.raises(ValueError, match=message):
        columns_of(file_of(an_object(), an_object(), an_object(**change)))


def test_an_object_that_is_none_is_refused_with_its_place():
    with pytest.raises(
            ValueError, match=r'annotations\[1\] must be an object, but is 5'):
        columns_of(file_of(an_object(), '5'))


@pytest.mark.parametrize('ids', [(), (5, ), (3, 1, 2), (10**30, 2), (2.0, 1)])
@pytest.mark.parametrize('values', [(), (1, 2, 4), (2, 10**30), (2.5, 2.0)])
def test_positions_are_those_of_a_dictionary(ids, values):
    place = {id_: i for i, id_ in enumerate(ids)}
    found = positions(columns._numbers(list(values)), ids)
    assert found.tolist() == [place.get(value, -1) for value in values]


@pytest.mark.parametrize(
    'raw', [b'', b'null', b'[', b'[]', b'[ ]', b'[[1]]', b'{}', b'"x"', b'5'])
def test_many_kinds_are_told_as_one(raw):
    data = b'x' + raw
    kind, = mask_kinds(data, np.array([min(1, len(raw))]),
                       np.array([len(raw)]))
    one = mask_kind(raw)
    assert kind == (OTHER if one is None else one)
    assert {NONE, POLYGONS, RLE, OTHER} == {0, 1, 2, -1}


def test_ids_that_stand_twice_are_named_by_their_places_in_the_file():
    data = file_of(
        an_object(id=1, image_id=9), an_object(), an_object(id=2),
        an_object(id=2))
    with pytest.raises(
            ValueError,
            match=r'annotations\[2\] is of image 1, '
            r'annotations\[3\] is of image 1'):
        parse_annotations(data, 'a.json')
