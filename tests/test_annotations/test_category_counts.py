"""Counting categories of COCO/LVIS files, and the counts file."""
import json

import numpy as np
import pytest

from eql_mmdet.annotations.category_counts import (count_annotations,
                                                   format_counts,
                                                   frequency_group,
                                                   load_counts)
from eql_mmdet.annotations.reader import parse_annotations


@pytest.fixture
def coco():

    def annotation(i, image, category, iscrowd=0):
        return dict(
            id=i,
            image_id=image,
            category_id=category,
            iscrowd=iscrowd,
            bbox=[1, 1, 5, 5])

    return dict(
        categories=[dict(id=7, name='dog, big'),
                    dict(id=3, name='cat')],
        images=[dict(id=i, height=9, width=9) for i in range(5)],
        annotations=[
            annotation(1, 0, 7),
            annotation(2, 0, 7),
            annotation(3, 1, 7),
            annotation(4, 1, 3),
            annotation(5, 2, 3, iscrowd=1),
        ])


def count(dataset):
    text = json.dumps(dataset).encode()
    return count_annotations(parse_annotations(text, 'x'))


def test_counts_are_in_file_order_without_crowds(coco):
    counts = count(coco)
    assert counts.ids == (7, 3) and counts.names == ('dog, big', 'cat')
    assert counts.image_count.tolist() == [2, 1]
    assert counts.instance_count.tolist() == [3, 1]
    assert counts.num_images == 2  # images 2 to 4 have nothing to learn from


def test_groups_come_from_the_file_or_from_the_counts(coco):
    assert count(coco).groups == ('r', 'r')
    coco['categories'][1]['frequency'] = 'f'
    assert count(coco).groups == ('r', 'f')


@pytest.mark.parametrize('images, group', [(1, 'r'), (10, 'r'), (11, 'c'),
                                           (100, 'c'), (101, 'f')])
def test_frequency_groups_are_those_of_lvis(images, group):
    assert frequency_group(images) == group


def test_counts_file_round_trip(coco, tmp_path):
    (tmp_path / 'ann.json').write_text(json.dumps(coco))
    counts = load_counts(tmp_path / 'ann.json')
    (tmp_path / 'counts.csv').write_text(format_counts(counts))
    again = load_counts(str(tmp_path / 'counts.csv'))
    for name in ('num_images', 'ids', 'names', 'groups'):
        assert getattr(again, name) == getattr(counts, name)
    np.testing.assert_array_equal(again.image_count, counts.image_count)
    np.testing.assert_array_equal(again.instance_count, counts.instance_count)


def test_a_counts_file_holds_names_of_any_characters(tmp_path):
    names = [
        'a,b', 'a"b', ' lead', 'x\ny', 'x\ry', 'x\u2028y', 'x\x0by', '#x',
        'x\n# num_images: 5', '', '猫', '"q"', '1.5'
    ]
    content = dict(
        categories=[dict(id=k, name=name) for k, name in enumerate(names)],
        images=[dict(id=0, height=9, width=9)],
        annotations=[
            dict(id=k, image_id=0, category_id=k, bbox=[1, 1, 5, 5])
            for k in range(0, len(names), 2)
        ])
    counts, path = count(content), tmp_path / 'counts.csv'
    for ends in ('\n', '\r\n'):  # as spreadsheets save it
        text = format_counts(counts).replace('\n', ends)
        path.write_bytes(b'\xef\xbb\xbf' + text.encode())
        again = load_counts(path)
        assert [n.replace('\r\n', '\n') for n in again.names] == names
        assert again.num_images == 1
        assert (again.image_count == counts.image_count).all()


@pytest.mark.parametrize('row', [
    '2,b,q,1,1',
    '2,b,,1,1',
    '2,b,r,-1,1',
    '2,b,r,4,4',
    '2,b,r,2,1',
    '2,a,r,1,1',
])
def test_counts_that_cannot_be_are_refused(tmp_path, row):
    path = tmp_path / 'counts.csv'
    path.write_text('# num_images: 3\n'
                    'id,name,frequency,image_count,instance_count\n'
                    f'1,a,r,1,1\n{row}\n')
    with pytest.raises(ValueError, match='row 1 of .*counts.csv|"a" stands'):
        load_counts(path)


@pytest.mark.parametrize('table, images, groups, total', [
    ('lvis_v0.5', 56740, dict(r=454, c=461, f=315), 201417),
    ('lvis_v1', 99388, dict(r=337, c=461, f=405), None),
])
def test_packaged_tables_hold_the_facts_of_lvis(table, images, groups, total):
    counts = load_counts(table)
    assert counts.num_images == images
    assert {g: counts.groups.count(g) for g in 'rcf'} == groups
    assert [frequency_group(n)
            for n in counts.image_count] == list(counts.groups)
    assert list(counts.ids) == list(range(1, len(counts.ids) + 1))
    assert total is None or counts.image_count.sum() == total


@pytest.mark.parametrize('name, text, message', [
    ('a.json', '{"images": []}', 'categories is missing'),
    ('a.json', '{"categories": []', 'not a whole JSON file'),
    ('a.json', '[1, 2]', 'must be an object'),
    ('a.csv', 'id,name\n1,cat\n', '"# num_images: N"'),
    ('a.csv', '# num_images: 3\nid,name\n1,cat\n', 'image_count'),
    ('a.csv', '# num_images: 3\nid,name,frequency,image_count,instance_count\n'
     '1,cat,r,many,2\n', 'whole numbers'),
    ('a.csv', '# num_images: 9\nid,name,frequency,image_count,instance_count\n'
     '1,cat,r,1,2', 'a.csv ends within "1,cat,r,1,2".*end this line'),
    ('a.csv', '# num_images: 9\n# num_categories: 2\n'
     'id,name,frequency,image_count,instance_count\n'
     '1,cat,r,1,2\n', 'expected 2 categories.*has 1: it is cut off'),
    ('a.txt', '', 'one of .*lvis_v0.5.*a.txt'),
])
def test_unreadable_sources_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_counts(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match='No such file'):
        load_counts(tmp_path / 'none.csv')


def test_annotation_of_an_unlisted_category_is_named(coco):
    coco['annotations'][0]['category_id'] = 99
    with pytest.raises(
            ValueError, match=r'annotations\[0\] \(id 1\) has category 99'):
        count(coco)
