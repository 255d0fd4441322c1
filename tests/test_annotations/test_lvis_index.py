"""What is read of an LVIS file, and what is refused."""
import numpy as np
import pytest
from lvis_data import make_dataset, write_json

from eql_mmdet.annotations.lvis_index import load_index


@pytest.fixture
def dataset():
    return make_dataset(np.random.default_rng(2), images=6, categories=5)


def test_index_equals_a_plain_loop(dataset, tmp_path):
    index = load_index(write_json(tmp_path / 'ann.json', dataset))
    ids = [c['id'] for c in dataset['categories']]
    assert index.category_ids == ids
    label_of = {id_: label for label, id_ in enumerate(ids)}
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
        assert index.checked[image['id']].tolist() == sorted(
            label_of[id_] for id_ in checked)
        assert index.sizes[image['id']] == (image['height'], image['width'])
        first = label_of[min(present)] if present else None
        assert index.an_annotated.get(image['id']) == first


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
    assert set(index.image_counts) == {-1}


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
    (without('images', 'neg_category_ids'),
     r'images\[1\].neg_category_ids is missing.*COCOEvalMetric'),
    (without('images', 'not_exhaustive_category_ids'), 'not_exhaustive'),
    (without('images', 'height'), 'height'),
    (without('categories', 'frequency'), 'frequency'),
    (without('annotations', 'bbox'), r'annotations\[1\].bbox is missing'),
    (without('annotations', 'image_id'), r'annotations\[1\].image_id'),
    (set_to('categories', 'frequency', 'x'), "r, c or f.*'x'"),
    (set_to('annotations', 'iscrowd',
            1), r'annotations\[1\] \(id 2\) .* "iscrowd"'),
    (set_to('annotations', 'ignore',
            1), r'annotations\[1\] \(id 2\) .* "ignore"'),
    (set_to('annotations', 'category_id',
            99), r'annotations\[1\] \(id 2\) has category 99'),
    (repeat('images'), r'twice among the images: images\[1\].*images\[6\]'),
    (repeat('categories'), r'twice among the categories: categories\[1\]'),
    (repeat('annotations'), 'the id 2 stands twice among the annotations'),
    (lambda dataset: dataset.pop('images'), 'images is missing'),
    (lambda dataset: dataset.update(categories=3), 'must be a list'),
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
