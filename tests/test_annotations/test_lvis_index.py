"""What is read of an LVIS file, and what is refused."""
import numpy as np
import pytest
from lvis_data import make_dataset, write_json

from eql_mmdet.annotations.lvis_index import check_classes, load_index


@pytest.fixture
def dataset():
    return make_dataset(np.random.default_rng(2), images=6, categories=5)


def test_index_equals_a_plain_loop(dataset, tmp_path):
    index = load_index(write_json(tmp_path / 'ann.json', dataset))
    ids = [c['id'] for c in dataset['categories']]
    assert index.category_ids.tolist() == ids
    assert index.sorted_frequencies() == [
        c['frequency']
        for c in sorted(dataset['categories'], key=lambda c: c['id'])
    ]
    for position, category in enumerate(dataset['categories']):
        assert index.names[position] == category['name']
        assert index.image_counts[position] == category['image_count']
        assert index.instance_counts[position] == sum(
            a['category_id'] == category['id'] for a in dataset['annotations'])
    for image in dataset['images']:
        present = {
            a['category_id']
            for a in dataset['annotations'] if a['image_id'] == image['id']
        }
        checked = present | set(image['neg_category_ids'])
        assert set(index.checked[image['id']].tolist()) == checked
        assert index.sizes[image['id']] == (image['height'], image['width'])
        assert index.an_annotated.get(image['id']) in (present or {None})


def test_annotations_without_area_are_not_there(dataset, tmp_path):
    expected = load_index(write_json(tmp_path / 'ann.json', dataset))
    for item in list(dataset['annotations']):
        number = len(dataset['annotations']) + 1
        other = dataset['categories'][number % 5]['id']
        dataset['annotations'].append(
            dict(item, id=number, area=0, category_id=other))
    index = load_index(write_json(tmp_path / 'more.json', dataset))
    assert (index.instance_counts == expected.instance_counts).all()
    assert index.an_annotated == expected.an_annotated


def test_missing_training_counts_are_unknown(dataset, tmp_path):
    for category in dataset['categories']:
        del category['image_count']
    index = load_index(write_json(tmp_path / 'ann.json', dataset))
    assert (index.image_counts == -1).all()


def without(kind, key):

    def damage(dataset):
        del dataset[kind][1][key]

    return damage


def set_to(kind, key, value):

    def damage(dataset):
        dataset[kind][1][key] = value

    return damage


def repeat(kind):

    def damage(dataset):
        dataset[kind].append(dict(dataset[kind][1]))

    return damage


@pytest.mark.parametrize('damage, message', [
    (without('images', 'neg_category_ids'), 'CocoMetric'),
    (without('images', 'not_exhaustive_category_ids'), 'not_exhaustive'),
    (without('images', 'height'), 'height'),
    (without('categories', 'frequency'), 'frequency'),
    (without('annotations', 'area'), 'annotation 2 of image .* "area"'),
    (without('annotations', 'bbox'), 'annotation 2 of image .* "bbox"'),
    (without('annotations', 'image_id'), '"image_id"'),
    (set_to('categories', 'frequency', 'x'), "r, c or f.*'x'"),
    (set_to('annotations', 'iscrowd', 1), 'annotation 2 .* "iscrowd"'),
    (set_to('annotations', 'ignore', 1), 'annotation 2 .* "ignore"'),
    (set_to('annotations', 'id', 0), 'annotation 0 .* number from 1'),
    (set_to('annotations', 'image_id', 99), 'image 99'),
    (set_to('annotations', 'category_id', 99), 'image .* category 99'),
    (repeat('images'), 'image ids must be unique.* image '),
    (repeat('categories'), 'category ids must be unique'),
    (repeat('annotations'), 'annotation ids must be unique.* annotation 2 '),
    (lambda dataset: dataset.pop('images'), 'something else'),
    (lambda dataset: dataset.update(categories=3), 'something else'),
])
def test_files_that_would_mislead_are_refused(dataset, tmp_path, damage,
                                              message):
    damage(dataset)
    path = write_json(tmp_path / 'ann.json', dataset)
    with pytest.raises(ValueError, match=message) as error:
        load_index(path)
    assert 'ann.json' in str(error.value)


@pytest.mark.parametrize('text', ['', '[]', '{"images": ['])
def test_damaged_files_are_refused(tmp_path, text):
    path = tmp_path / 'ann.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='ann.json'):
        load_index(str(path))


def test_single_names_may_differ_from_those_of_the_host(dataset, tmp_path):
    dataset['categories'] *= 4
    for number, category in enumerate(dataset['categories']):
        dataset['categories'][number] = dict(category, id=100 + number)
    dataset['annotations'] = []
    index = load_index(write_json(tmp_path / 'ann.json', dataset))
    names = list(index.names)
    names[3] = 'speaker_(stereo_equipment)'
    check_classes(names, index)
    with pytest.raises(ValueError, match='20 of 20|classes'):
        check_classes(names[::-1], index)
