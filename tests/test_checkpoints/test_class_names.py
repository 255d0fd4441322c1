"""The class names of a converted checkpoint: known sets and own files."""
import json

import pytest
from detectron2_model import make_model
from mmdet.datasets import CocoDataset, LVISV1Dataset, LVISV05Dataset

from eql_mmdet.annotations.category_counts import (count_annotations,
                                                   format_counts, load_counts)
from eql_mmdet.annotations.reader import read_annotations
from eql_mmdet.checkpoints import class_names
from eql_mmdet.checkpoints.detectron2 import to_detectron2, to_mmdet

COCO = CocoDataset.METAINFO['classes']
LVIS_05 = load_counts('lvis_v0.5').names
LVIS_1 = load_counts('lvis_v1').names


def names_of(conversion):
    return conversion.checkpoint['meta'].get('dataset_meta', {}).get('classes')


@pytest.mark.parametrize('table, host, label', [
    ('lvis_v0.5', LVISV05Dataset, 668),
    ('lvis_v1', LVISV1Dataset, 654),
])
def test_the_host_corrects_one_name_of_lvis(table, host, label):
    counts = load_counts(table)
    theirs = host.METAINFO['classes']
    assert len(counts.names) == len(theirs)
    assert counts.ids == tuple(range(1, len(theirs) + 1))
    assert [(k, *pair) for k, pair in enumerate(zip(counts.names, theirs))
            if pair[0] != pair[1]] == [(label, 'speaker_(stero_equipment)',
                                        'speaker_(stereo_equipment)')]


@pytest.mark.parametrize('numbers, expected', [
    ([1230], LVIS_05),
    ([1230, 1229], LVIS_05),
    ([1231, 1230], LVIS_05),
    ([1203], LVIS_1),
    ([1204, 1203], LVIS_1),
    ([80], COCO),
    ([81, 80], COCO),
    ([80, 79], COCO),
    ([81], None),
    ([60, 59], None),
])
def test_known_sets_are_told_by_their_number(numbers, expected):
    found = class_names.choose_names(numbers)
    assert found.names == expected
    assert ('--classes ANN' in found.note)
    assert ('no class names' in found.note) == (expected is None)


@pytest.mark.parametrize('scores, boxes, masks, expected', [
    (1230, 1230, 1230, LVIS_05),
    (1231, 1230, 1, LVIS_05),
    (1231, 1, 1, LVIS_05),
    (1204, 1, 1203, LVIS_1),
    (80, 1, 1, COCO),
    (81, 80, 80, COCO),
    (81, 81, 81, None),
    (61, 60, 60, None),
])
def test_checkpoints_carry_the_names_of_their_set(scores, boxes, masks,
                                                  expected):
    model = make_model(scores=scores, boxes=boxes, masks=masks)
    done = to_mmdet(dict(model=model))
    assert names_of(done) == expected
    assert 'dataset_meta' in done.checkpoint['meta'] or expected is None
    back = to_detectron2(done.checkpoint)
    assert all(back.checkpoint['model'][k].equal(v) for k, v in model.items())
    assert ('left out: class names' in back.notes) == (expected is not None)


def test_two_sets_that_fit_are_left_to_the_user(monkeypatch):
    monkeypatch.setattr(class_names, 'known_sets',
                        lambda: dict(A=('x', 'y'), B=('z', )))
    found = class_names.choose_names([2, 1])
    assert found.names is None
    assert '2 or 1 categories are of A and of B' in found.note
    assert class_names.choose_names([2]).names == ('x', 'y')


def test_given_names_go_before_known_ones():
    names = [f'name {k}' for k in range(80)]
    done = to_mmdet(make_model(scores=80, boxes=1, masks=1), names)
    assert names_of(done) == tuple(names)
    note, = (n for n in done.notes if 'class names' in n)
    assert 'as given: name 0, name 1, name 2, ... 80 in all' in note


@pytest.mark.parametrize('classes, error, message', [
    (['a', 'b'], ValueError, 'the 3 or 4 categories .*, but got 2: a, b'),
    (['a', 'b', 'a'], ValueError, '"a"? ?.*stands twice'),
    ([], ValueError, 'there is none'),
    ('abc', TypeError, 'plain|string'),
])
def test_other_names_than_categories_are_refused(classes, error, message):
    with pytest.raises(error, match=message):
        class_names.choose_names([3, 4], classes)


@pytest.fixture
def shuffled(tmp_path):
    """A file that lists its categories in another order than their ids."""
    path = tmp_path / 'shuffled.json'
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=1, height=9, width=9)],
                annotations=[
                    dict(id=1, image_id=1, category_id=7, bbox=[1, 1, 5, 5])
                ],
                categories=[
                    dict(id=30, name='third'),
                    dict(id=7, name='first'),
                    dict(id=9, name='second')
                ])))
    return path


def test_names_of_a_file_are_ordered_by_id_as_detectron2_does(shuffled):
    assert class_names.read_names(str(shuffled)) == ('first', 'second',
                                                     'third')
    table = shuffled.with_suffix('.csv')
    table.write_text(
        format_counts(count_annotations(read_annotations(str(shuffled)))))
    assert class_names.read_names(str(table)) == ('first', 'second', 'third')


def test_a_test_set_names_its_categories(shuffled):
    content = json.loads(shuffled.read_text())
    del content['annotations']
    shuffled.write_text(json.dumps(content))
    assert class_names.read_names(str(shuffled))[0] == 'first'


@pytest.mark.parametrize('source, expected', [('lvis_v0.5', LVIS_05),
                                              ('lvis_v1', LVIS_1)])
def test_packaged_tables_are_named(source, expected):
    assert class_names.read_names(source) == expected


@pytest.mark.parametrize('source', ['none.json', 'none.csv', 'names.txt'])
def test_files_that_cannot_be_read_are_named(source):
    with pytest.raises(ValueError, match=source):
        class_names.read_names(source)
