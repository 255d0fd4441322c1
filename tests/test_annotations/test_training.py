"""What is trained, by the host's own data set and by plain loops."""
import json
import re
from collections import defaultdict

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope
from odd_files import HEIGHT, WIDTH, odd_coco_file
from user_files import (SIDE, changed, coco_file, lvis_file, square, without,
                        write)

import eql_mmdet  # noqa: F401, registers the data sets
from eql_mmdet.annotations.category_counts import count_annotations
from eql_mmdet.annotations.reader import parse_annotations
from eql_mmdet.annotations.training import (check_left, evaluation_findings,
                                            trained_pairs, training_view)
from eql_mmdet.datasets.format_datasets import COCOFormatDataset

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=60, deadline=None, derandomize=True)
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
]


@pytest.fixture(autouse=True)
def host_scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('training')
    for number in range(12):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    return folder


def parse(dataset):
    return parse_annotations(json.dumps(dataset).encode(), 'a.json')


def view_of(dataset, classes=None, with_masks=False):
    found = parse(dataset)
    return training_view(found, found.label_map(classes), with_masks)


def some_classes(dataset, seed):
    """Some of the names, in the order of the file, as the host has them."""
    names = [category['name'] for category in dataset['categories']]
    chosen = np.random.default_rng(seed).random(len(names)) < 0.6
    return tuple(n for n, c in zip(names, chosen) if c) or tuple(names[:1])


def host_infos(path, classes, **options):
    options.setdefault('data_prefix', dict(img=''))
    # Pickled records of no image at all are an error of numpy.
    host = CocoDataset(
        ann_file=path,
        metainfo=dict(classes=classes),
        serialize_data=False,
        **options)
    return [host.get_data_info(i) for i in range(len(host))]


@MANY
@given(SEEDS, st.booleans(), st.sampled_from([0, 32, 70]), st.booleans())
def test_records_are_those_of_the_host(folder, seed, filter_empty, min_size,
                                       test_mode):
    dataset = odd_coco_file(seed)
    classes = some_classes(dataset, seed)
    path = write(folder / 'a.json', dataset)
    options = dict(
        data_prefix=dict(img='pictures', seg='maps'),
        return_classes=bool(seed % 2),
        test_mode=test_mode,
        filter_cfg=dict(filter_empty_gt=filter_empty, min_size=min_size))
    expected = host_infos(path, classes, **options)
    try:
        ours = COCOFormatDataset(
            ann_file=path, metainfo=dict(classes=classes), **options)
    except ValueError as error:
        assert not test_mode
        assert re.search('left to train on|no image with an obj', str(error))
        trained = [
            instance for info in expected for instance in info['instances']
            if not instance['ignore_flag']
        ]
        assert not trained
        return
    assert ours.metainfo['classes'] == classes
    infos = [ours.get_data_info(i) for i in range(len(ours))]
    for info in infos:
        for instance in info['instances']:
            if instance['mask'] == []:  # the host has no entry at all
                del instance['mask']
    assert infos == expected


@MANY
@given(SEEDS)
def test_counts_are_a_plain_loop_over_the_host(folder, seed):
    dataset = odd_coco_file(seed)
    classes = some_classes(dataset, seed)
    images, instances = defaultdict(set), defaultdict(int)
    infos = host_infos(write(folder / 'a.json', dataset), classes)
    for number, info in enumerate(infos):
        for instance in info['instances']:
            if instance['ignore_flag'] == 0:
                images[instance['bbox_label']].add(number)
                instances[instance['bbox_label']] += 1
    if not images:
        with pytest.raises(ValueError, match='none of its .* left to train'):
            count_annotations(parse(dataset), classes)
        return
    counts = count_annotations(parse(dataset), classes)
    labels = range(len(classes))
    assert counts.names == classes
    assert counts.image_count.tolist() == [len(images[k]) for k in labels]
    assert counts.instance_count.tolist() == [instances[k] for k in labels]
    assert counts.num_images == len(set.union(*images.values()))


@MANY
@given(SEEDS)
def test_masks_that_the_host_leaves_alone_are_not_trained(folder, seed):
    """The host decides about masks only when it loads them."""
    dataset = odd_coco_file(seed)
    path = write(folder / 'a.json', dataset)
    classes = tuple(c['name'] for c in dataset['categories'])
    view = view_of(dataset, classes, with_masks=True)
    assume(view.is_trained.any())
    ours = COCOFormatDataset(
        ann_file=path, data_prefix=dict(img=str(folder)), pipeline=LOAD)
    loaded = [ours[i] for i in range(len(ours))]
    trained = sum((~item['gt_ignore_flags']).sum() for item in loaded)
    assert trained == view.is_trained.sum()
    assert sum(len(item['gt_masks']) for item in loaded) == sum(
        len(item['instances']) for item in loaded) == view.is_kept.sum()


@MANY
@given(SEEDS)
def test_categories_of_an_image_are_those_it_trains(folder, seed):
    dataset = odd_coco_file(seed)
    view = view_of(dataset)
    assume(view.is_trained.any())
    ours = COCOFormatDataset(
        ann_file=write(folder / 'a.json', dataset),
        filter_cfg=dict(filter_empty_gt=bool(seed % 2)))
    pairs = set()
    for i in range(len(ours)):
        info = ours.get_data_info(i)
        expected = [
            instance['bbox_label'] for instance in info['instances']
            if not instance['ignore_flag']
        ]
        assert ours.get_cat_ids(i) == expected
        position = [m['id'] for m in dataset['images']].index(info['img_id'])
        pairs |= {(position, label) for label in expected}
    assert list(map(tuple, trained_pairs(parse(dataset), view).tolist())) == \
        sorted(pairs)


LOSSES = [
    (dict(iscrowd=1), False, 'marked iscrowd=1', 'set iscrowd=0'),
    (dict(iscrowd=True), False, 'marked iscrowd=1', 'set iscrowd=0'),
    (dict(ignore=1), False, 'marked "ignore"', 'take the mark out'),
    (dict(bbox=[0.1, 0.2, 0.3, 0.4]), False, 'smaller than 1 pixel',
     'check that "bbox" is in pixels, not a fraction'),
    (dict(bbox=[5, 8, 0, SIDE]), False, 'smaller than 1 pixel', 'check'),
    (dict(bbox=[25, 28, -SIDE, -SIDE]), False, 'smaller than 1 pixel',
     'check that "bbox"'),
    (dict(bbox=[200, 8, SIDE, SIDE]), False, 'outside their image', 'check'),
    (dict(bbox=[-SIDE, 8, SIDE, SIDE]), False, 'outside their image', 'check'),
    (dict(area=0), False, 'without area', 'write the area in pixels'),
    (dict(area=-1.5), False, 'without area', 'write the area in pixels'),
    (dict(segmentation=None), True, 'without a mask', 'draw them'),
    (dict(segmentation=[[]]), True, 'without a mask', 'draw them'),
    (dict(segmentation=[[1, 2, 3, 4]]), True, 'without a mask', 'draw them'),
]


@pytest.mark.parametrize('fields, with_masks, reason, mend', LOSSES)
def test_what_is_lost_is_told_with_place_and_mend(fields, with_masks, reason,
                                                  mend):
    dataset = changed(coco_file(), 'annotations', 4, **fields)
    view = view_of(dataset, with_masks=with_masks)
    assert np.flatnonzero(~view.is_trained).tolist() == [4]
    finding, = view.findings
    assert finding.what.startswith(f'1 of 18 annotations are {reason}')
    assert finding.where.startswith('annotations[4] (id 5), bbox [')
    assert finding.mend.startswith(mend)


@pytest.mark.parametrize('fields, with_masks, reason, mend', LOSSES)
def test_a_set_without_anything_to_train_on_is_refused(fields, with_masks,
                                                       reason, mend):
    dataset = coco_file()
    for item in dataset['annotations']:
        item.update(fields)
    found = parse(dataset)
    view = training_view(found, found.label_map(None), with_masks)
    with pytest.raises(ValueError) as error:
        check_left(found, view)
    text = str(error.value)
    assert text.startswith('a.json: none of its 18 objects is left to train')
    assert f'18 of 18 annotations are {reason}' in text and mend in text


def test_the_first_reason_counts():
    dataset = changed(
        coco_file(), 'annotations', 0, ignore=1, iscrowd=1, area=0)
    assert len(view_of(dataset).findings) == 1


def test_boxes_beyond_their_image_are_told_and_trained():
    """Corners instead of width and height, or another size of the image."""
    dataset = coco_file()
    for item in dataset['annotations']:
        x, y, w, h = item['bbox']
        item['bbox'] = [x, y, x + w, y + h]
    view = view_of(dataset)
    assert view.is_trained.all()
    finding, = view.findings
    assert finding.what == ('6 of 18 annotations reach more than a pixel '
                            'out of their image')
    assert finding.where.startswith('annotations[2] (id 3), bbox [65.0, 8.0, ')
    assert finding.mend == 'check that "bbox" is x, y, width, height in pixels'


@pytest.mark.parametrize('change, reason', [
    (lambda x, y, w, h: [x / 100, y / 80, w / 100, h / 80], 'smaller than 1'),
    (lambda x, y, w, h: [x, y, w, 0], 'without width or height'),
    (lambda x, y, w, h: [x + w, y, -w, h], 'without width or height'),
    (lambda x, y, w, h: [x + 100, y, w, h], 'outside their image'),
])
def test_ground_truth_that_cannot_be_found_is_told(change, reason):
    """As it is, a perfect model has AP 0 on it."""
    dataset = lvis_file()
    for item in dataset['annotations']:
        item['bbox'] = change(*item['bbox'])
    finding, = evaluation_findings(parse(dataset))
    assert finding.what.startswith(f'6 of 6 annotations are {reason}')
    assert finding.what.endswith('be found')
    assert finding.where.startswith('annotations[0] (id 1), bbox [')


def test_ground_truth_beyond_its_image_is_told():
    dataset = changed(lvis_file(), 'annotations', 2, bbox=[65, 8, 85, 28])
    finding, = evaluation_findings(parse(dataset))
    assert finding.what == ('1 of 6 annotations reach more than a pixel out '
                            'of their image')
    assert evaluation_findings(parse(lvis_file())) == []


def test_boxes_on_the_edge_of_their_image_are_not_told():
    dataset = changed(coco_file(), 'annotations', 0, bbox=[-1, -1, 102, 82])
    assert view_of(dataset).findings == []


def test_a_category_that_loses_all_is_named():
    """Brush masks of an annotation tool are marked as crowds."""
    dataset = coco_file()
    for item in dataset['annotations']:
        item['iscrowd'] = int(item['category_id'] == 1)
    view = view_of(dataset)
    assert [str(finding) for finding in view.findings] == [
        '6 of 18 annotations are marked iscrowd=1 and will not be trained '
        '(first: annotations[0] (id 1), bbox [5.0, 8.0, 20.0, 20.0]); set '
        'iscrowd=0 for single objects, such as brush masks',
        'all annotations of "disc" are marked iscrowd=1, and the host trains '
        'on none of them (first: annotations[0] (id 1)); set iscrowd=0 for '
        'single objects, such as brush masks'
    ]


def test_categories_without_annotations_are_named():
    dataset = coco_file()
    dataset['categories'].insert(0, dict(id=0, name='shapes'))
    dataset['categories'] += [dict(id=9, name='a'), dict(id=8, name='b')]
    finding, = view_of(dataset).findings
    assert finding.what == ('3 of 6 categories have no annotation: "shapes", '
                            '"a", "b"')
    assert finding.where == 'category id 0'
    assert view_of(dataset, ('disc', 'bar')).findings == []
    counts = count_annotations(parse(dataset))
    assert counts.image_count.tolist() == [0, 6, 6, 6, 0, 0]


def test_no_more_than_ten_categories_are_named():
    dataset = coco_file()
    dataset['categories'] += [
        dict(id=k, name=f'empty {k}') for k in range(10, 30)
    ]
    finding, = view_of(dataset).findings
    assert '20 of 23' in finding.what and finding.what.endswith('19", ...')


def test_other_classes_lose_nothing():
    dataset = changed(coco_file(), 'annotations', 0, iscrowd=1)
    view = view_of(dataset, ('dot', 'bar'))
    assert view.findings == []
    assert view.labels.tolist() == [-1, 1, 0] * 6
    assert view.is_trained.tolist() == view.is_kept.tolist() == (
        view.labels >= 0).tolist()


def test_pictures_that_are_listed_twice_are_told():
    """A merge of one file a class lists every picture once a class."""
    dataset = changed(coco_file(), 'images', 4, file_name='1.png')
    finding, = parse(dataset).findings
    assert str(finding) == (
        '1 of 6 images have the file_name of another one (first: images[4] '
        '"1.png"); merge their annotations: what is annotated in one is '
        'background in the other')
    assert parse(lvis_file()).findings == []
    test_set = changed(lvis_file(), 'images', 0, file_name=None)
    test_set = without(test_set, 'images', 1, 'file_name')
    assert parse(test_set).findings == []


def test_masks_of_boxes_alone_are_not_looked_at():
    dataset = changed(coco_file(), 'annotations', 0, segmentation=[3])
    dataset['annotations'][1]['segmentation'] = square(5, 8)[0]
    assert view_of(dataset).is_trained.all()
    with pytest.raises(ValueError, match=r'mask of annotations\[0\]'):
        view_of(dataset, with_masks=True)
