"""Categories, images and ids: of any size, each once, and named."""
import copy
import json

import numpy as np
import pytest
from user_files import changed, coco_file, lvis_file, without

from eql_mmdet.annotations.reader import parse_annotations

HUGE = 2**70
FAR = 10**400
NUMBERINGS = dict(
    from_zero=lambda i: i - 1,
    negative=lambda i: -i,
    whole_floats=float,
    beyond_floats=lambda i: 2**53 + i,
    beyond_int64=lambda i: 2**63 + i,
    beyond_uint64=lambda i: HUGE + i,
    mixed=lambda i: i if i % 2 else HUGE * i)


def parse(dataset):
    return parse_annotations(json.dumps(dataset).encode(), 'a.json')


def renumbered(dataset, images, categories, objects):
    dataset = copy.deepcopy(dataset)
    for image in dataset['images']:
        image['id'] = images(image['id'])
    for category in dataset['categories']:
        category['id'] = categories(category['id'])
    for item in dataset['annotations']:
        item.update(
            id=objects(item['id']),
            image_id=images(item['image_id']),
            category_id=categories(item['category_id']))
    return dataset


@pytest.mark.parametrize('numbering', NUMBERINGS)
@pytest.mark.parametrize('rewritten', [False, True])
def test_ids_of_any_size_give_the_same_columns(numbering, rewritten):
    new = NUMBERINGS[numbering]
    plain = parse(lvis_file())
    dataset = renumbered(lvis_file(), new, new, new)
    if rewritten:
        dataset['info'] = float('nan')
    found = parse(dataset)
    assert found.ids.tolist() == [new(i) for i in plain.ids.tolist()]
    assert [i.id for i in found.images] == [new(i.id) for i in plain.images]
    for name in ('image', 'category', 'boxes', 'areas', 'mask_kinds'):
        np.testing.assert_array_equal(
            getattr(found, name), getattr(plain, name))
    assert found.findings == []


@pytest.mark.parametrize('values', [
    dict(id=1.5),
    dict(id=2.0**60),
    dict(image_id=1.5),
    dict(image_id=2.0**60),
    dict(category_id=1.5),
    dict(category_id=2.0**60),
])
def test_rounded_ids_are_refused(values):
    (name, value), = values.items()
    with pytest.raises(
            ValueError,
            match=rf'^a.json: annotations\[4\].{name} '
            'must be a whole number, but is [1.]+5') as error:
        parse(changed(lvis_file(), 'annotations', 4, **values))
    assert ('a rounded one' in str(error.value)) == (value > 2**53)


@pytest.mark.parametrize('kind', ['images', 'categories'])
@pytest.mark.parametrize('value', [1.5, 2.0**60])
def test_rounded_ids_of_the_lists_are_refused(kind, value):
    with pytest.raises(ValueError, match=rf'{kind}\[1\].id must be a whole'):
        parse(changed(lvis_file(), kind, 1, id=value))
    with pytest.raises(ValueError, match=r'neg_category_ids\[1\] must be a'):
        parse(changed(lvis_file(), 'images', 1, neg_category_ids=[1, value]))


def test_objects_without_ids_are_read():
    dataset = without(coco_file(), 'annotations', 1, 'id')
    found = parse(dataset)
    assert found.ids.tolist() == [1, None, *range(3, 19)]
    assert found.place(1) == 'annotations[1]'
    assert found.place(2) == 'annotations[2] (id 3)'


def doubled(kind, **fields):
    dataset = lvis_file()
    dataset[kind].append(dict(dataset[kind][1], **fields))
    return dataset


@pytest.mark.parametrize('dataset, sentence', [
    (doubled('images', file_name='z.png'),
     'the id 2 stands twice among the images: images[1] is "2.png", '
     'images[2] is "z.png"; number them anew'),
    (doubled('categories', name='bar again'),
     'the id 2 stands twice among the categories: categories[1] is named '
     '"bar", categories[3] is named "bar again"; number them anew'),
    (doubled('categories', id=9),
     'categories 2 and 9 are both named "bar"; labels go by name: merge or '
     'rename them'),
    (doubled('annotations'),
     'the id 2 stands twice among the annotations: annotations[1] is of '
     'image 1, annotations[6] is of image 1; number them anew'),
    (doubled('annotations', id=2.0,
             image_id=2), 'the id 2 stands twice among the annotations'),
    (doubled('images', id=2.0), 'the id 2 stands twice among the images'),
    (doubled('categories', id=HUGE,
             name='bar'), f'categories 2 and {HUGE} are both named "bar"'),
    (dict(lvis_file(), images=[]),
     '"images" is empty; an annotation file lists the images'),
    (dict(lvis_file(), categories=[]),
     '"categories" is empty; an annotation file lists what'),
    (changed(lvis_file(), 'annotations', 3, category_id=99),
     'annotations[3] (id 4) has category 99, which is not among the 3 '
     'categories of the file (1 such annotations); add the category, or'),
    (changed(lvis_file(), 'images', 1, height=0),
     'images[1].height must be from 1 to 999999 pixels, but is 0; write the'),
    (changed(lvis_file(), 'images', 1, width=-3),
     'images[1].width must be from 1 to 999999 pixels, but is -3; write the'),
    (changed(lvis_file(), 'images', 1, width=HUGE),
     'images[1].width must be from 1 to 999999 pixels, but is 1180591620717'),
    (changed(lvis_file(), 'images', 1, width=99.5),
     'images[1].width must be a whole number, but is 99.5; '),
    (changed(lvis_file(), 'annotations', 3, bbox=[1, 2, FAR, 4]),
     'annotations[3].bbox[2] must be a number that is not so large, but is'),
    (changed(lvis_file(), 'annotations', 3, bbox=[1, 2, -1e300, 4]),
     'annotations[3].bbox must be in pixels, but is (1.0, 2.0, -1e+300'),
    (changed(lvis_file(), 'annotations', 3, area=FAR),
     'annotations[3].area must be a number that is not so large, but is'),
    (changed(lvis_file(), 'annotations', 3, segmentation='x'),
     'annotations[3] (id 4).segmentation must be a list of polygons or an '
     'RLE, but is "x"; export it again'),
    (changed(lvis_file(), 'annotations', 3, segmentation=False),
     'annotations[3] (id 4).segmentation must be a list of polygons or an '
     'RLE, but is false; export it again'),
])
def test_what_would_mislead_is_refused_in_a_sentence(dataset, sentence):
    with pytest.raises(ValueError) as error:
        parse(dataset)
    assert str(error.value).startswith(f'a.json: {sentence}')


def test_places_count_the_objects_of_the_file():
    """Also where objects before them belong to no image."""
    dataset = changed(coco_file(), 'annotations', 4, category_id=99)
    dataset['images'] = dataset['images'][1:]
    with pytest.raises(ValueError, match=r'annotations\[4\] \(id 5\) has'):
        parse(dataset)


def test_names_may_be_numbers_and_of_any_alphabet():
    names = ['', ' a', 7, 1.5, '猫', 'a\nb', '"', 'A']
    dataset = lvis_file()
    dataset['categories'] = [
        dict(id=k + 1, name=name) for k, name in enumerate(names)
    ]
    assert parse(dataset).names == tuple(map(str, names))
