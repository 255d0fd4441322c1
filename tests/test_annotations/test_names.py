"""Classes go by name, whoever gives them."""
import json

import pytest
from user_files import NAMES, changed, lvis_file

from eql_mmdet.annotations.names import check_names
from eql_mmdet.annotations.reader import parse_annotations


def parse(dataset):
    return parse_annotations(json.dumps(dataset).encode(), 'a.json')


@pytest.mark.parametrize('names, error, message', [
    ('disc', TypeError, r'the string "disc"; write \("disc", \)'),
    ((1, 2), TypeError, 'must be names'),
    ((), ValueError, 'there is none'),
    (('bar', 'bar'), ValueError, '"bar" stands twice'),
])
def test_classes_must_be_different_names(names, error, message):
    with pytest.raises(error, match=message):
        check_names(names)
    with pytest.raises(error, match=message):
        parse(lvis_file()).label_map(names)


def test_labels_go_by_name():
    found = parse(lvis_file())
    assert found.label_map(None).tolist() == [0, 1, 2]
    assert found.label_map(['dot', 'disc']).tolist() == [1, -1, 0]
    assert found.label_map(iter(NAMES)).tolist() == [0, 1, 2]
    with pytest.raises(
            ValueError,
            match='^"barr" is not among the 3 '
            'categories of a.json: "disc", "bar", "dot"; correct'):
        found.label_map(('disc', 'barr', 'dot'))
    with pytest.raises(ValueError, match='^"Disc", "Bar" are not among'):
        found.label_map(('Disc', 'Bar', 'dot'))


def test_the_spelling_of_the_host_is_understood_once():
    name, ours = 'speaker_(stero_equipment)', 'speaker_(stereo_equipment)'
    found = parse(changed(lvis_file(), 'categories', 1, name=name))
    assert found.label_map((ours, 'dot')).tolist() == [-1, 0, 1]
    with pytest.raises(ValueError, match='stands twice'):
        found.label_map((ours, name))
