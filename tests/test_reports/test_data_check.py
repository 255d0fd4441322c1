"""What the tool says before training is what training would say."""
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eql_mmdet.reports.data_check import check_data

sys.path.insert(0, str(Path(__file__).parents[1]))
from class_project import write_split  # noqa: E402


@pytest.fixture
def root(tmp_path):
    images = [(0, 1)] * 11 + [(0, 1, 2)]
    write_split(tmp_path, 'train', images, frequencies='')
    write_split(tmp_path, 'val', [(0, 1, 2)], frequencies='')
    return tmp_path


def change(root, edit, split='train'):
    path = root / f'annotations/{split}.json'
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return str(path)


def check(root, edit=lambda content: None, split='train', **kwargs):
    return check_data(change(root, edit, split), **kwargs)


def test_a_good_set_is_described(root):
    found = check(root, images=str(root / 'train'))
    assert found.refused == []
    assert found.facts[0] == (
        'COCO format (COCOEvalMetric), 12 images, 3 categories')
    assert '25 objects, 25 of them trained, in 12 images' in found.facts[1]
    assert '25 polygons, 0 RLE, 0 none' in found.facts[1]
    assert 'images of a category: 1 to 12 (imbalance 12); 1 rare' \
        in found.facts[2]
    assert found.findings == ['1 categories have 10 images or fewer: dot 1']


def lose(content):
    content['annotations'][0]['bbox'][2] = 0.5
    content['annotations'][1]['iscrowd'] = 1


def unmask(content):
    content['annotations'][3]['segmentation'] = []


def use_rle(content):
    content['annotations'][3]['segmentation'] = dict(
        size=[96, 96], counts=[0, 400, 96 * 96 - 400])


def box_everything(content):
    for item in content['annotations']:
        del item['segmentation']


def unlist(content):
    del content['images'][0]


def add_category(content):
    content['categories'].append(dict(id=7, name='ring'))


def double(content):
    item = content['annotations'][0]
    content['annotations'].append(dict(item, id=999))


@pytest.mark.parametrize('edit, words', [
    (lose, '1 of 25 annotations are smaller than 1 pixel'),
    (lose, '1 of 25 annotations are marked iscrowd=1'),
    (unmask, 'with masks: 1 of 25 annotations are without a mask'),
    (use_rle, '1 masks are RLE: .*poly2mask=True'),
    (box_everything, 'no object has a mask'),
    (unlist, '2 of 25 annotations belong to images that are not listed'),
    (add_category, '1 of 4 categories have no annotation: "ring"'),
    (double, 'near-duplicates'),
])
def test_what_goes_on_is_to_know(root, edit, words):
    found = check(root, edit)
    assert found.refused == []
    assert any(re.search(words, line) for line in found.findings), found


def damage(content):
    content['annotations'][3]['segmentation'] = dict(size=[96, 96], counts=[5])


def flatten(content):
    for item in content['annotations']:
        item['bbox'] = [v / 96 for v in item['bbox']]


def rename(content):
    content['images'][2]['file_name'] = 'none.png'


def resize(content):
    content['images'][2]['height'] = 90


def misspell(content):
    content['categories'][1]['name'] = 'barr'


@pytest.mark.parametrize('edit, words', [
    (damage, 'mask of annotations[3] (id 4) is an RLE that does not'),
    (flatten, '25 of 25 annotations are smaller than 1 pixel'),
    (rename, '1 of 12 images are not in'),
    (resize, '2.png is 96 x 96, not 96 x 90'),
    (misspell, 'lacks: barr'),
    (misspell, 'lacks: bar;'),
    (lambda content: content.pop('images'), 'images is missing'),
])
def test_what_stops_is_refused(root, edit, words):
    found = check(
        root,
        edit,
        images=str(root / 'train'),
        train=str(root / 'annotations/val.json'))
    assert any(words in line for line in found.refused), found
    assert not set(found.findings) & set(found.refused)


def test_another_order_is_no_fault(root):
    found = check(
        root,
        lambda content: content['categories'].reverse(),
        train=str(root / 'annotations/val.json'))
    assert found.refused == []
    assert any('in another order' in line for line in found.findings)


def test_lvis_files_are_held_to_their_format(root):
    write_split(
        root, 'lvis', [(0, 1, 2)] * 2, neg_category_ids=[],
        not_exhaustive_category_ids=[])  # yapf: disable
    path = change(root, lambda content: None, 'lvis')
    assert check_data(path).refused == []
    path = change(root,
                  lambda content: content['images'][1].pop('neg_category_ids'),
                  'lvis')
    assert 'neg_category_ids is missing' in check_data(path).refused[0]


def test_a_test_set_has_nothing_to_train(root):
    found = check(root, lambda content: content.pop('annotations'))
    assert found.refused == found.findings == []
    assert 'test set' in found.facts[1]


def test_an_image_that_its_camera_turned_is_as_the_host_reads_it(root):
    picture = Image.fromarray(np.zeros((96, 50, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # a quarter to the right
    picture.save(root / 'train/turned.jpg', exif=exif)

    def turn(content):
        content['images'][0].update(
            file_name='turned.jpg', height=50, width=96)

    assert check(root, turn, images=str(root / 'train')).refused == []


@pytest.mark.parametrize('edit, status, verdict', [
    (lambda content: None, 0, 'nothing is refused, 1 to know'),
    (flatten, 1, '1 refused'),
])
def test_the_tool_prints_a_verdict(root, load_tool, capsys, monkeypatch, edit,
                                   status, verdict):
    path = change(root, edit)
    monkeypatch.chdir(root)
    assert load_tool('check_data').main([str(path)]) == status
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(verdict) for line in lines)


def test_names_of_2014_are_looked_for_as_they_are_read(root):
    """LVIS v0.5 has them for the images of 2017."""

    def rename(content):
        content['images'][0]['file_name'] = 'COCO_train2014_000000000001.jpg'

    old = root / 'train' / json.loads(
        (root /
         'annotations/train.json').read_text())['images'][0]['file_name']
    old.rename(root / 'train/000000000001.jpg')
    found = check(root, rename, images=str(root / 'train'))
    assert '1 of 12 images are not in' in found.refused[0]

    def make_lvis(content):
        for image in content['images']:
            image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
        for category in content['categories']:
            category['frequency'] = 'r'

    found = check(root, make_lvis, images=str(root / 'train'))
    assert found.refused == []


def test_a_set_that_is_tested_is_not_looked_at_as_one_that_is_trained(root):
    found = check(
        root, lose, 'val', train=str(root / 'annotations/train.json'))
    text = ' '.join(found.facts + found.findings)
    assert 'train' not in text and 'rare' not in text
    assert '3 objects in 1 images' in found.facts[1]
    assert 'can hardly be found' in found.findings[0]
