"""Decoding: what every file may be, and sentences about what it may not."""
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from user_files import changed, coco_file, lvis_file, without

from eql_mmdet.annotations.records import decode, decode_objects

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=5), inner, max_size=3),
    max_leaves=6)
#: All that a file needs, with integers that no other type holds.
HUGE = 2**70 + 1


def fields(items):
    """What was read, a dictionary an item; masks as the file has them."""
    return [{
        name: getattr(item, name)
        for name in item.__struct_fields__ if name != 'segmentation'
    } for item in items]


def load(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    record, _ = decode(data, 'a.json')
    return record, decode_objects(record.annotations or [], 0, 'a.json')


def read(data):
    record, objects = load(data)
    masks = [json.loads(bytes(o.segmentation) or b'null') for o in objects]
    return (fields(record.images), fields(record.categories), fields(objects),
            masks)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=4), ANYTHING, max_size=3), ANYTHING)
def test_what_nobody_needs_may_be_anything(more, value):
    """Also NaN, lone surrogates and integers of any size."""
    dataset = lvis_file()
    expected = read(dataset)
    for key in ('info', 'licenses', *more):
        dataset.setdefault(key, more.get(key, value))
    for kind in ('images', 'categories', 'annotations'):
        for item in dataset[kind]:
            item.update(score=value, attributes=more, supercategory=value)
    assert read(dataset) == expected


@pytest.mark.parametrize(
    'encoding',
    ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'utf-32-le'])
def test_encodings_of_json_are_read(encoding):
    dataset = changed(coco_file(), 'categories', 0, name='Straße 🛣')
    text = json.dumps(dataset, ensure_ascii=False)
    assert read(text.encode(encoding)) == read(dataset)


def test_spaces_and_lines_change_nothing():
    dataset = lvis_file()
    pretty = json.dumps(dataset, indent=3).encode()
    assert read(pretty) == read(dataset)


@pytest.mark.parametrize('kind, place, values', [
    ('images', 0, dict(id=HUGE)),
    ('images', 0, dict(id=-HUGE)),
    ('images', 0, dict(id=2**63)),
    ('images', 0, dict(neg_category_ids=[HUGE, -1])),
    ('categories', 1, dict(id=2**64 + 3)),
    ('annotations', 2, dict(id=HUGE, image_id=HUGE + 1, category_id=-HUGE)),
])
def test_ids_of_any_size_are_exact(kind, place, values):
    dataset = changed(lvis_file(), kind, place, **values)
    record, objects = load(dataset)
    items = objects if kind == 'annotations' else getattr(record, kind)
    for name, value in values.items():
        found = getattr(items[place], name)
        assert found == value
        assert not isinstance(found, float)


@pytest.mark.parametrize('kind, name', [
    ('images', 'file_name'),
    ('images', 'coco_url'),
    ('images', 'neg_category_ids'),
    ('images', 'not_exhaustive_category_ids'),
    ('categories', 'frequency'),
    ('categories', 'image_count'),
    ('annotations', 'id'),
    ('annotations', 'area'),
    ('annotations', 'iscrowd'),
    ('annotations', 'ignore'),
])
def test_null_is_as_good_as_nothing(kind, name):
    dataset = changed(lvis_file(), kind, 1, **{name: None})
    assert read(dataset) == read(without(dataset, kind, 1, name))


def test_not_a_number_is_null():
    dataset = changed(lvis_file(), 'annotations', 1, area=None, iscrowd=None)
    text = json.dumps(dataset)
    assert text.count('null') == 2
    for constant in ('NaN', 'Infinity', '-Infinity'):
        found = read(text.replace('null', constant).encode())
        assert found == read(dataset)


SENTENCES = [
    (changed(lvis_file(), 'images', 1, id='000001'),
     'images[1].id must be a whole number, but is "000001"; number'),
    (changed(lvis_file(), 'images', 0, id=None),
     'images[0].id must be a whole number, but is null; number'),
    (changed(lvis_file(), 'images', 0, id=True),
     'images[0].id must be a whole number, but is true; number'),
    (without(lvis_file(), 'images', 1, 'id'), 'images[1].id is missing; '),
    (changed(lvis_file(), 'images', 1, height=[80]),
     'images[1].height must be a whole number, but is [80]; write the size'),
    (without(lvis_file(), 'images', 1, 'width'), 'images[1].width is missing'),
    (changed(lvis_file(), 'images', 0,
             file_name=7), 'images[0].file_name must be text, but is 7; '),
    (changed(lvis_file(), 'images', 0, neg_category_ids=[1, '2']),
     'images[0].neg_category_ids[1] must be a whole number, but is "2"; '),
    (changed(lvis_file(), 'images', 0, neg_category_ids=3),
     'images[0].neg_category_ids must be a list, but is 3; '),
    (changed(lvis_file(), 'categories', 2,
             name=None), 'categories[2].name must be text, but is null; '),
    (without(lvis_file(), 'categories', 2,
             'name'), 'categories[2].name is missing; '),
    (changed(lvis_file(), 'annotations', 3, image_id='1'),
     'annotations[3].image_id must be a whole number, but is "1"; give'),
    (changed(lvis_file(), 'annotations', 3, category_id=None),
     'annotations[3].category_id must be a whole number, but is null; give'),
    (changed(lvis_file(), 'annotations', 3, bbox=None),
     'annotations[3].bbox must be a list, but is null; write x, y, width'),
    (changed(lvis_file(), 'annotations', 3, bbox=[1, 2, 3]),
     'annotations[3].bbox must be a list of length 4, but is [1, 2, 3]; '),
    (changed(lvis_file(), 'annotations', 3, bbox=[1, 2, 3, '4']),
     'annotations[3].bbox[3] must be a number, but is "4"; write x, y'),
    (changed(lvis_file(), 'annotations', 3, area='400'),
     'annotations[3].area must be a number, but is "400"; '),
    (changed(lvis_file(), 'annotations', 3, iscrowd='no'),
     'annotations[3].iscrowd must be 0 or 1, but is "no"; '),
    (dict(lvis_file(),
          annotations={}), 'annotations must be a list, but is {}; '),
    (dict(lvis_file(), images=None), 'images must be a list, but is null; '),
    (dict(lvis_file(), images=[3]), 'images[0] must be an object, but is 3; '),
    (dict(images=[], annotations=[]), 'categories is missing; '),
    (lvis_file()['annotations'], 'the file must be an object, but is [{"'),
    (None, 'the file must be an object, but is null; '),
]


@pytest.mark.parametrize(
    'dataset, sentence',
    SENTENCES,
    ids=[sentence[:40] for _, sentence in SENTENCES])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_a_sentence_says_place_value_and_mend(dataset, sentence, encoding):
    with pytest.raises(ValueError) as error:
        load(json.dumps(dataset).encode(encoding))
    assert str(error.value).startswith(f'a.json: {sentence}')
    assert len(str(error.value)) < 250
    assert re.search(r'; \w+ .*[\w"]$', str(error.value))


def test_the_first_fault_is_named_in_a_file_that_is_cut_off_later():
    dataset = changed(lvis_file(), 'images', 0, id='x')
    text = json.dumps(dataset).encode()[:-40]
    with pytest.raises(ValueError, match=r'images\[0\].id must be a whole '):
        decode(text, 'a.json')


@pytest.mark.parametrize('number', ['1e999', '-1e999'])
def test_numbers_beyond_all_floats_are_named(number):
    text = json.dumps(changed(lvis_file(), 'annotations', 1, area='x'))
    with pytest.raises(
            ValueError,
            match=r'annotations\[1\].area must be a '
            'number that is not so large'):
        load(text.replace('"x"', number).encode())


@pytest.mark.parametrize(
    'data, message', [
        (b'', 'is not a whole JSON file'),
        (b'\xef\xbb\xbf', 'is not a whole JSON file'),
        (b'{"images": [', 'is not a whole JSON file'),
        (json.dumps(lvis_file()).encode() * 2, 'is not a whole JSON file'),
        (b'\x89PNG\r\n\x1a\n\0\0', 'is not text in UTF-8'),
        (b'{"images": [], "categories": [{"id": 1, "name": "Stra\xdfe"}]}',
         'is not text in UTF-8.*save it as UTF-8'),
        (b'{"images": ' + b'[' * 100_000 + b']' * 100_000 + b'}', 'object'),
        (b'{"info": ' + b'[' * 100_000 + b']' * 100_000 + b'}', 'too deeply'),
        (b'{"info": NaN, "x":' + b'[' * 100_000 + b']' * 100_000 + b'}',
         'is not a whole JSON file'),
    ],
    ids=range(9))
def test_what_is_no_json_is_refused_in_a_sentence(data, message):
    with pytest.raises(ValueError, match=message) as error:
        decode(data, 'a.json')
    assert type(error.value) is ValueError and 'a.json' in str(error.value)


def test_masks_point_into_what_is_returned():
    """Also where the file had to be rewritten."""
    for text in (json.dumps(lvis_file()),
                 json.dumps(dict(lvis_file(), info=float('nan')))):
        record, data = decode(text.encode(), 'a.json')
        objects = decode_objects(record.annotations, 0, 'a.json')
        for item, source in zip(objects, lvis_file()['annotations']):
            raw = bytes(item.segmentation)
            assert raw in data and json.loads(raw) == source['segmentation']
