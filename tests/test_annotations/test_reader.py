"""The reader against the COCO API and plain loops over the file."""
import copy
import json
import os
import pickle
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import odd_coco_file
from pycocotools.coco import COCO
from user_files import coco_file, lvis_file, perfect, square, without, write

from eql_mmdet.annotations.masks import NONE, POLYGONS, RLE, mask_area
from eql_mmdet.annotations.reader import parse_annotations, read_annotations

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=60, deadline=None, derandomize=True)


def parse(dataset):
    return parse_annotations(json.dumps(dataset).encode(), 'a.json')


def coco_api(dataset):
    coco = COCO()
    coco.dataset = copy.deepcopy(dataset)
    coco.createIndex()
    return coco


@MANY
@given(SEEDS)
def test_columns_are_what_a_plain_loop_reads(seed):
    dataset = odd_coco_file(seed)
    found = parse(dataset)
    assert [c.id for c in found.categories
            ] == [c['id'] for c in dataset['categories']]
    assert found.names == tuple(c['name'] for c in dataset['categories'])
    assert [(i.id, i.file_name, i.height, i.width) for i in found.images
            ] == [(i['id'], i['file_name'], i['height'], i['width'])
                  for i in dataset['images']]
    places = {image['id']: n for n, image in enumerate(dataset['images'])}
    labels = {c['id']: k for k, c in enumerate(dataset['categories'])}
    kept = [(n, item) for n, item in enumerate(dataset['annotations'])
            if item['image_id'] in places]
    assert found.places.tolist() == [n for n, _ in kept]
    for row, (number, item) in enumerate(kept):
        assert found.ids[row] == item['id']
        assert found.image[row] == places[item['image_id']]
        assert found.category[row] == labels[item['category_id']]
        assert found.boxes[row].tolist() == item['bbox']
        assert found.areas[row] == item['area']
        assert found.is_crowd[row] == bool(item.get('iscrowd'))
        assert found.is_ignored[row] == bool(item.get('ignore'))
        assert found.load_mask(row) == (item.get('segmentation') or [])
        kind = item.get('segmentation') or None
        expected = NONE if kind is None else (
            POLYGONS if isinstance(kind, list) else RLE)
        assert found.mask_kinds[row] == expected


@MANY
@given(SEEDS)
def test_objects_of_an_image_are_those_of_the_coco_api(seed):
    dataset = odd_coco_file(seed)
    found, coco = parse(dataset), coco_api(dataset)
    for position, image in enumerate(found.images):
        assert found.ids[found.objects_of(
            position)].tolist() == coco.getAnnIds(imgIds=[image.id])


@MANY
@given(SEEDS)
def test_missing_areas_are_those_of_the_masks_or_the_boxes(seed):
    dataset = odd_coco_file(seed)
    for item in dataset['annotations']:
        del item['area']
    found, coco = parse(dataset), coco_api(dataset)
    has_mask = found.has_mask()
    for row, place in enumerate(found.places):
        item = dataset['annotations'][place]
        if has_mask[row]:
            if isinstance(item['segmentation'], list):
                item['segmentation'] = item['segmentation'][:1]
            expected = coco.annToMask(item).sum()
        else:
            expected = max(item['bbox'][2], 0) * max(item['bbox'][3], 0)
        assert found.areas[row] == expected


def test_a_mask_thinner_than_a_pixel_has_the_area_of_its_box():
    thin = without(coco_file(), 'annotations', 0, 'area')
    thin['annotations'][0]['segmentation'] = square(5, 8, 0.2)
    assert mask_area(square(5, 8, 0.2), (80, 100)) == 0
    assert parse(thin).areas[0] == 400


def test_images_that_are_not_listed_are_told():
    dataset = coco_file()
    dataset['images'] = dataset['images'][1:]
    found = parse(dataset)
    assert found.places.tolist() == list(range(3, 18))
    finding, = found.findings
    assert str(finding).startswith(
        '3 of 18 annotations belong to images that are not listed, and are '
        'left out (first: annotations[0].image_id is 1); nothing to do if')


def test_a_file_without_annotations_is_a_test_set():
    dataset = lvis_file()
    for other in (dict(dataset, annotations=None), {
            k: v
            for k, v in dataset.items() if k != 'annotations'
    }):
        found = parse(other)
        assert found.is_test_set and len(found.image) == 0
        assert found.objects_of(1).tolist() == []
    assert not parse(dict(dataset, annotations=[])).is_test_set


def test_masks_are_checked_once_and_named_by_their_place():
    dataset = coco_file()
    dataset['annotations'][1]['segmentation'] = [[1, 2, 3, 4]]
    dataset['annotations'][2].pop('segmentation')
    found = parse(dataset)
    assert np.flatnonzero(~found.has_mask()).tolist() == [1, 2]
    everything = np.ones(18, bool)
    assert found.first_without_mask(everything) == (
        'annotations[1] (id 2) has no polygon of three points or more')
    everything[1] = False
    assert found.first_without_mask(
        everything) == 'annotations[2] (id 3) has no mask'
    everything[2] = False
    assert found.first_without_mask(everything) is None
    dataset['annotations'][7]['segmentation'] = [3]
    with pytest.raises(
            ValueError,
            match=r'a.json: the mask of annotations'
            r'\[7\] \(id 8\) is not a list of polygons.*; export'):
        parse(dataset).has_mask()


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path):
    path = write(tmp_path / 'a.json', lvis_file())
    first = read_annotations(path)
    assert read_annotations(path) is first
    assert copy.deepcopy(first) is first
    link = tmp_path / 'b.json'
    os.symlink(path, link)
    assert read_annotations(link).names == first.names
    write(tmp_path / 'a.json', lvis_file((1, 2, 3)))
    assert read_annotations(path).count == 3
    assert read_annotations(link).count == 3


def test_a_file_reads_the_same_in_another_process(tmp_path):
    ours = read_annotations(write(tmp_path / 'a.json', lvis_file()))
    other = pickle.loads(pickle.dumps(ours))
    assert other.load_mask(4) == ours.load_mask(4) == square(35, 8)
    assert other.place(4) == ours.place(4)


def test_another_folder_finds_the_masks(tmp_path, monkeypatch):
    write(tmp_path / 'a.json', lvis_file())
    monkeypatch.chdir(tmp_path)
    ours = read_annotations('a.json')
    monkeypatch.chdir('/')
    other = pickle.loads(pickle.dumps(ours))
    assert other.load_mask(4) == square(35, 8)
    with pytest.raises(ValueError, match='"a.json": No such file'):
        read_annotations('a.json')


@pytest.mark.parametrize('make, message', [
    (lambda path: None, 'No such file'),
    (lambda path: path.mkdir(), 'Is a directory'),
    (lambda path: path.write_bytes(b''), 'not a whole JSON file'),
    (lambda path: path.symlink_to(path), 'symbolic links'),
    (lambda path: path.symlink_to('nowhere.json'), 'No such file'),
    (lambda path:
     (path.parent / 'f').write_text('') or path.symlink_to('f/a.json'),
     'Not a directory'),
    (lambda path: os.mkfifo(path), 'not a whole JSON file|regular file'),
])
def test_a_path_that_is_no_file_is_named(tmp_path, make, message):
    path = tmp_path / 'a.json'
    make(path)
    with pytest.raises(ValueError, match=message) as error:
        read_annotations(path)
    assert 'a.json' in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / 'a.json'
    write(path, lvis_file())
    path.chmod(0)
    with pytest.raises(ValueError, match='a.json": Permission denied'):
        read_annotations(path)


def test_predictions_are_no_annotations(tmp_path):
    with pytest.raises(
            ValueError,
            match='must be an object, but is .*; a '
            'COCO or LVIS file has "images"'):
        read_annotations(write(tmp_path / 'a.json', perfect(lvis_file())))


def test_generated_files_hold_every_hard_case():
    seen = defaultdict(int)
    for seed in range(60):
        found = parse(odd_coco_file(seed))
        seen['crowd'] += found.is_crowd.sum()
        seen['ignored'] += found.is_ignored.sum()
        seen['unlisted'] += len(found.findings)
        seen['tiny'] += (found.boxes[:, 2:] < 1).any(axis=1).sum()
        seen['outside'] += (found.boxes[:, 0] > 90).sum()
        seen['flat'] += (found.areas <= 0).sum()
        for kind in (NONE, POLYGONS, RLE):
            seen[kind] += (found.mask_kinds == kind).sum()
        seen['unusable'] += sum(found.mask_kinds != NONE) - sum(
            found.has_mask())
    assert min(seen.values()) >= 5, seen
