"""What the reader takes and refuses, beside the files of users."""
import json
import os

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from eql_mmdet.annotations.masks import NONE, mask_fault, to_rle
from eql_mmdet.annotations.reader import parse_annotations, read_annotations
from eql_mmdet.annotations.run_lengths import rle_pixels

SIZE = 40, 50


def content(**changes):
    """One image with one object, whose fields may be changed."""
    item = dict(
        id=1,
        image_id=1,
        category_id=1,
        bbox=[5, 5, 20, 10],
        area=200,
        segmentation=[[5, 5, 25, 5, 25, 15, 5, 15]])
    item.update(changes)
    return dict(
        images=[dict(id=1, file_name='a.png', height=40, width=50)],
        categories=[dict(id=1, name='a')],
        annotations=[item])


def parse(value, encoding='utf-8'):
    text = value if isinstance(value, str) else json.dumps(value)
    return parse_annotations(text.encode(encoding, 'surrogatepass'), 'a.json')


@pytest.mark.parametrize('encoding',
                         ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_encodings_of_tools_are_read(encoding):
    found = parse(content(), encoding)
    assert found.boxes.tolist() == [[5, 5, 20, 10]]
    assert found.load_mask(0) == [[5, 5, 25, 5, 25, 15, 5, 15]]


@pytest.mark.parametrize('token', ['NaN', 'Infinity', '-Infinity', '1e999'])
def test_what_only_python_reads_counts_as_nothing(token):
    text = json.dumps(content(score='@')).replace('"@"', token)
    assert parse(text).areas.tolist() == [200]
    text = json.dumps(content(bbox=[5, 5, 20, '@'])).replace('"@"', token)
    with pytest.raises(ValueError, match=r'a.json: annotations\[0\].bbox\[3'):
        parse(text)


@pytest.mark.parametrize('text', [
    '', ' ', '{', '[]', '3', 'null', '{"images": [}', '"images"',
    '[' * 100_000, '{"images": ' + '[' * 5_000 + ']' * 5_000 + '}'
])
def test_what_is_no_annotation_file_is_one_sentence(text):
    with pytest.raises(ValueError, match='a.json'):
        parse(text)


def test_half_a_character_in_an_unused_field_decides_nothing():
    text = json.dumps(content(note='@')).replace('@', '\ud83d')
    assert parse(text).areas.tolist() == [200]


@pytest.mark.parametrize('make', [
    lambda path: None,
    lambda path: path.mkdir(),
    lambda path: path.write_bytes(b''),
    lambda path: path.symlink_to(path.parent / 'gone'),
])
def test_files_that_cannot_be_read_are_named(tmp_path, make):
    path = tmp_path / 'a.json'
    make(path)
    with pytest.raises(ValueError, match='a.json'):
        read_annotations(path)


def test_a_file_is_read_once_until_it_changes(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content()))
    first = read_annotations(path)
    assert read_annotations(str(path)) is first
    path.write_text(json.dumps(content(area=100)))
    os.utime(path, ns=(1, 1))
    assert read_annotations(path).areas.tolist() == [100]


@pytest.mark.parametrize('field, value, words', [
    ('image_id', 1.5, 'image_id must be a whole number'),
    ('image_id', 1e18, 'a rounded one'),
    ('category_id', 0.5, 'category_id must be a whole number'),
    ('id', 2.5, 'id must be a whole number'),
    ('bbox', [1, 1, 1e30, 5], 'bbox must be in pixels'),
    ('bbox', [1, 1, 10**400, 5], 'bbox'),
    ('area', 1e300, 'area must be in pixels'),
])
def test_numbers_that_cannot_be_are_refused(field, value, words):
    with pytest.raises(ValueError, match=rf'annotations\[0\].*{words}'):
        parse(content(**{field: value}))


@pytest.mark.parametrize('mask, fault', [
    ([[5, 5, 25, 5, 1e9, 15]], 'more than 100000 pixels away'),
    ([[5, 5, 25, 5, 1000000, 15]], 'more than 100000 pixels away'),
    ([[5, 5, 25, 5, 25, 15]], None),
    ([[5.123456789, 5, 25, 5, 1e1, 15]], None),
    ([[5, 5, 25, 5, 25, 15, 7]], 'has no polygon'),
    ([[5, 5], [5, 5, 25, 5, 25, 15]], None),
    ([5, 5, 25, 5, 25, 15], 'not a list of polygons'),
    ([['5', 5, 25, 5, 25, 15]], 'not a list of polygons'),
    ([[5, 5, 25, 5, 25, True]], 'not a list of polygons'),
    (dict(size=[40, 50], counts=[2000]), 'has no pixel'),
    (dict(size=[40, 50], counts=[0, 2000]), None),
    (dict(size=[40, 50], counts=[0, 2000, 1]), 'does not describe'),
    (dict(size=[50, 40], counts=[0, 2000]), 'in an image of'),
    (dict(size=[40, 50]), 'not right'),
    (dict(size=[40, 50], counts='P'), 'does not describe'),
    (dict(size=[40, 50], counts='é'), 'does not describe'),
])
def test_faults_of_masks(mask, fault):
    found = mask_fault(json.dumps(mask).encode(), SIZE)
    assert (found is None) if fault is None else fault in found


def test_masks_without_a_fault_are_those_of_pycocotools():
    generator = np.random.default_rng(0)
    for _ in range(50):
        bitmap = np.asfortranarray(generator.random(SIZE) < 0.3, np.uint8)
        rle = mask_utils.encode(bitmap)
        text = dict(size=list(SIZE), counts=rle['counts'].decode())
        assert mask_fault(json.dumps(text).encode(), SIZE) is None
        assert rle_pixels([rle['counts']]) == [2000]
        assert mask_utils.area(to_rle(text, SIZE)) == bitmap.sum()


def test_a_mask_thinner_than_a_pixel_leaves_the_area_to_the_box():
    thin = [[5, 5, 25, 5, 25, 5.1]]
    assert parse(content(area=None, segmentation=thin)).areas.tolist() == [200]


def test_objects_whose_polygons_are_no_areas_have_no_mask():
    found = parse(content(segmentation=[[1, 2, 3, 4]]))
    assert found.mask_kinds[0] != NONE and not found.has_mask().any()
    assert 'has no polygon' in found.first_without_mask(np.ones(1, bool))


def test_annotations_may_be_in_any_order_and_of_any_number():
    value = content()
    value['images'].append(dict(id=-3, file_name='b.png', height=40, width=50))
    item = value['annotations'][0]
    value['annotations'] = [
        dict(item, id=n, image_id=i) for n, i in enumerate([1, -3, 1, 1, -3])
    ]
    found = parse(value)
    assert found.objects_of(0).tolist() == [0, 2, 3]
    assert found.objects_of(1).tolist() == [1, 4]
