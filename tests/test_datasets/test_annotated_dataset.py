"""Our data sets in everything that the host builds around a data set."""
import copy
import logging
import os
import pickle

import numpy as np
import pytest
from fresh_processes import fresh
from mmdet.datasets import CocoDataset
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import BaseDataset, DefaultSampler, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader
from user_files import (NAMES, changed, coco_file, lvis_file, run_lengths,
                        square, without, write, write_images)

import eql_mmdet  # noqa: F401, registers the data sets

IMAGES = 8
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
]
PACK = [dict(type='PackDetInputs')]


@pytest.fixture(autouse=True)
def host_scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A file and its pictures, and two more without some categories."""
    folder = tmp_path_factory.mktemp('data')
    dataset = lvis_file(range(1, IMAGES + 1))
    # Categories of image i: all, all but dot, disc alone.
    dataset['annotations'] = [
        item for item in dataset['annotations']
        if item['category_id'] <= 3 - item['image_id'] % 3
    ]
    write(folder / 'a.json', dataset)
    write_images(folder / 'img', dataset)
    return folder


@pytest.fixture
def build(folder):

    def build(wrapper=None, pipeline=LOAD + PACK, **options):
        config = dict(
            type='LVISFormatDataset',
            data_root=str(folder),
            ann_file='a.json',
            data_prefix=dict(img='img'),
            pipeline=pipeline)
        config.update(options)
        return DATASETS.build(config if wrapper is None else wrapper(config))

    return build


def image_ids(dataset):
    return [dataset[i]['data_samples'].img_id for i in range(len(dataset))]


@pytest.mark.parametrize(
    'indices',
    [3, -2, 0, 100, [0, 5, 2], (1, ), [-1],
     range(2, 5),
     np.array([4, 4])])
def test_a_part_of_a_set_is_that_of_the_host(build, indices):
    everything = list(range(1, IMAGES + 1))
    if isinstance(indices, int):
        expected = {
            3: everything[:3],
            -2: everything[-2:],
            0: [],
            100: everything
        }[indices]
    else:
        expected = [everything[i] for i in indices]
    inside = build()
    inside.get_subset_(indices)
    outside = build().get_subset(indices)
    for part in (build(indices=indices), inside, outside):
        assert image_ids(part) == expected
        assert [part.get_data_info(i)['sample_idx']
                for i in range(len(part))] == list(range(len(expected)))
        assert [part.get_cat_ids(i) for i in range(len(part))
                ] == [list(range(3 - i % 3)) for i in expected]
        assert part.metainfo['classes'] == NAMES


def test_a_part_takes_nothing_from_parts_that_are_gone(build, monkeypatch):
    """The host remembers copies by address, also of what is gone."""
    whole = build()
    copies = {id(whole.pipeline): 'of another data set'}
    monkeypatch.setattr(BaseDataset._copy_without_annotation, '__defaults__',
                        (copies, ))
    assert whole.get_subset(2).pipeline != 'of another data set'
    assert len(whole.get_subset(2)) == 2


def test_a_part_has_classes_of_its_own(build):
    whole = build()
    part, same = whole.get_subset(2), copy.deepcopy(whole)
    for other in (part, same):
        other.use_classes(('bar', 'disc'))
        for record in (other.get_data_info(0), other.data_list[0]):
            assert [i['bbox_label'] for i in record['instances']] == [1, 0]
        assert other.get_cat_ids(0) == [1, 0]
    assert whole.get_cat_ids(0) == [0, 1]
    assert whole.metainfo['classes'] == NAMES
    assert part.annotations is same.annotations is whole.annotations


def test_two_sets_on_one_file_have_different_classes(build):
    first, second = build(), build(metainfo=dict(classes=('dot', 'disc')))
    assert first.annotations is second.annotations
    assert first.get_cat_ids(2) == [0, 1, 2]
    assert second.get_cat_ids(2) == [1, 0]
    assert second.cat_ids == [3, 1] and second.cat2label == {3: 0, 1: 1}


def test_a_lazy_set_reads_when_it_is_asked(build):
    lazy = build(lazy_init=True)
    assert not hasattr(lazy, 'annotations')
    assert build(lazy_init=True).metainfo['classes'] == NAMES
    assert len(lazy) == IMAGES
    assert image_ids(lazy) == image_ids(build())


def test_classes_may_be_a_file_of_names(build, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('dot\ndisc\n')
    dataset = build(metainfo=dict(classes=str(path)))
    assert dataset.metainfo['classes'] == ('dot', 'disc')


@pytest.mark.parametrize('classes, error, message', [
    ('disc', TypeError, r'the string "disc"; write \("disc", \)'),
    (['disc', 'disc'], ValueError, '"disc" stands twice'),
    (('disc', 'barr'), ValueError, '"barr" is not among the 3 .*a.json: '
     '"disc", "bar", "dot"'),
    ((), ValueError, 'there is none'),
])
def test_classes_that_cannot_be_are_refused(build, classes, error, message):
    with pytest.raises(error, match=message):
        build(metainfo=dict(classes=classes))


def with_mosaic(config):
    config['pipeline'] = [
        LOAD[0], dict(type='LoadAnnotations', with_bbox=True)
    ]
    return dict(
        type='MultiImageMixDataset',
        dataset=config,
        pipeline=[dict(type='Mosaic', img_scale=(50, 40))] + PACK)


WRAPPERS = dict(
    concat=(lambda c: dict(type='ConcatDataset', datasets=[c, c]), 2 * IMAGES),
    repeat=(lambda c: dict(type='RepeatDataset', times=3, dataset=c),
            3 * IMAGES),
    balanced=(lambda c: dict(
        type='ClassBalancedDataset', oversample_thr=0.5, dataset=c),
              IMAGES + 2),
    balanced_lazy=(lambda c: dict(
        type='ClassBalancedDataset',
        oversample_thr=0.5,
        dataset=dict(c, lazy_init=True)), IMAGES + 2),
    mosaic=(with_mosaic, IMAGES))


@pytest.mark.parametrize('name', WRAPPERS)
def test_wrappers_of_the_host_show_every_image(build, name):
    wrap, length = WRAPPERS[name]
    wrapped = build(wrap)
    assert len(wrapped) == length
    assert set(image_ids(wrapped)) == set(range(1, IMAGES + 1))
    assert wrapped.metainfo['classes'] == NAMES


def test_the_host_balances_our_images_as_its_own(build, folder):
    settings = dict(type='ClassBalancedDataset', oversample_thr=0.5)
    ours = build(lambda config: dict(settings, dataset=config))
    host = DATASETS.build(
        dict(
            settings,
            dataset=dict(
                type='CocoDataset',
                data_root=str(folder),
                ann_file='a.json',
                metainfo=dict(classes=NAMES),
                data_prefix=dict(img='img'),
                pipeline=[])))
    assert ours.repeat_indices == host.repeat_indices


@pytest.mark.parametrize('sampler', [
    dict(type='ClassAwareSampler', seed=0),
    dict(type='ClassAwareSampler', seed=0, num_sample_class=2),
    dict(type='RepeatFactorSampler', seed=0, repeat_threshold=0.5),
])
@pytest.mark.parametrize('indices', [None, [5, 0, 1, 2]])
def test_samplers_draw_as_from_the_host(build, folder, sampler, indices):
    host = CocoDataset(
        data_root=str(folder),
        ann_file='a.json',
        metainfo=dict(classes=NAMES),
        data_prefix=dict(img='img'),
        indices=indices)
    drawn = [
        list(DATA_SAMPLERS.build(dict(sampler, dataset=dataset)))
        for dataset in (build(indices=indices), host)
    ]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) <= set(range(len(host)))


def test_images_are_grouped_by_their_shape(build):
    dataset = build()
    groups = DATA_SAMPLERS.get('AspectRatioBatchSampler')(DefaultSampler(
        dataset, shuffle=False), 2)
    assert list(groups) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize('start', ['fork', fresh])
def test_workers_load_what_the_process_loads(build, start):
    dataset = build()
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=1,
        multiprocessing_context=start,
        collate_fn=pseudo_collate)
    found = [sample for batch in loader for sample in batch['data_samples']]
    assert [sample.img_id for sample in found] == image_ids(dataset)
    for i, sample in enumerate(found):
        expected = dataset[i]['data_samples'].gt_instances
        np.testing.assert_array_equal(sample.gt_instances.masks.masks,
                                      expected.masks.masks)
        assert sample.gt_instances.labels.tolist() == expected.labels.tolist()


def test_a_pickled_set_is_small_and_the_same(build):
    dataset = build()
    data = pickle.dumps(dataset)
    other = pickle.loads(data)
    assert other.data_list.dataset is other
    assert image_ids(other) == image_ids(dataset)
    assert b'segmentation' not in data


def test_a_file_that_changes_during_training_stops_it(tmp_path, build):
    dataset = lvis_file((1, 2))
    path = write(tmp_path / 'a.json', dataset)
    ours = build(ann_file=path)
    ours[0]
    with open(path, 'a') as file:
        file.write(' ')
    with pytest.raises(
            ValueError,
            match='a.json" was changed while it was '
            'in use; start again'):
        ours[1]
    assert len(build(ann_file=path)) == 2  # a new one reads the new file


def test_a_file_that_is_replaced_is_trained_on(tmp_path, build):
    path = write(tmp_path / 'a.json', lvis_file((1, 2)))
    ours = build(ann_file=path)
    other = write(tmp_path / 'b.json', lvis_file((3, 4)))
    os.replace(other, path)
    assert image_ids(ours) == [1, 2]
    assert image_ids(build(ann_file=path)) == [3, 4]


@pytest.mark.parametrize('options, message', [
    (dict(ann_file='none.json'), 'none.json": No such file'),
    (dict(ann_file=''), 'annotation file "": No such file'),
    (dict(ann_file='gopher://x/a.json'), 'gopher://x/a.json" with backend_'),
    (dict(ann_file='none.json', backend_args=dict(backend='local')),
     'none.json" with backend_args=.*No such file'),
    (dict(data_prefix=dict(img='imgs')),
     r'8 of 8 images are not in ".*imgs" \(first: images\[0\].file_name is '
     r'"1.png"\); check data_root'),
    (dict(data_prefix=dict()), '8 of 8 images are not in ""'),
    (dict(proposal_file='p.pkl'), 'has no proposals'),
    (dict(filter_cfg=dict(min_size=81)),
     r"no image with an object .* filter_cfg={'min_size': 81} \(0 of 8 "),
])
def test_what_cannot_work_stops_before_the_first_image(folder, options,
                                                       message):
    config = dict(
        type='COCOFormatDataset',
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img'),
        pipeline=LOAD)
    with pytest.raises(ValueError, match=message):
        DATASETS.build(dict(config, **options))


def build_coco(tmp_path, dataset, **options):
    settings = dict(
        type='COCOFormatDataset',
        ann_file=write(tmp_path / 'c.json', dataset),
        data_prefix=dict(img=str(tmp_path)))
    return DATASETS.build(dict(settings, **options))


@pytest.mark.parametrize('test_mode', [False, True])
def test_images_without_a_name_are_named(tmp_path, test_mode):
    dataset = without(coco_file(), 'images', 4, 'file_name')
    with pytest.raises(ValueError, match=r'images\[4\].file_name is missing'):
        build_coco(tmp_path, dataset, test_mode=test_mode)


def test_names_of_2014_are_cut_for_lvis_alone(tmp_path):
    """COCO's own images of 2014 have them on the disk."""
    name, mine = 'COCO_val2014_000000000042.jpg', 'COCO_of_mine.png'
    dataset = changed(coco_file(), 'images', 0, file_name=name)
    dataset = changed(dataset, 'images', 1, file_name=mine)
    for kind, expected in (('COCOFormatDataset', name), ('LVISFormatDataset',
                                                         '000000000042.jpg')):
        ours = build_coco(
            tmp_path,
            dataset,
            type=kind,
            data_prefix=dict(img='img', seg='seg'))
        info = ours.get_data_info(0)
        assert info['img_path'] == f'img/{expected}'
        assert info['seg_map_path'] == f'seg/{expected[:-4]}.png'
        assert ours.get_data_info(1)['img_path'] == f'img/{mine}'


def test_a_test_set_is_tested_and_never_trained(tmp_path):
    dataset = coco_file()
    del dataset['annotations']
    ours = build_coco(tmp_path, dataset, test_mode=True)
    assert len(ours) == 6 and ours.get_data_info(0)['instances'] == []
    with pytest.raises(
            ValueError,
            match='c.json has no "annotations": it is '
            'a test set, which cannot be trained on'):
        build_coco(tmp_path, dataset)


def test_rle_needs_bitmaps(tmp_path):
    dataset = coco_file()
    for item in dataset['annotations'][:5]:
        item['segmentation'] = dict(
            size=[80, 100], counts=run_lengths(*item['bbox'][:2]))
    write_images(tmp_path, dataset)
    polygons = [LOAD[0], dict(LOAD[1], poly2mask=False)]
    with pytest.raises(
            ValueError,
            match=r'c.json: 5 of 18 objects have RLE '
            r'masks \(first: annotations\[0\] \(id 1\)\), .*set '
            'poly2mask=True in LoadAnnotations'):
        build_coco(tmp_path, dataset, pipeline=polygons)
    ours = build_coco(tmp_path, dataset, pipeline=LOAD)
    masks = np.concatenate([ours[i]['gt_masks'].masks for i in range(6)])
    assert len(masks) == 18 and (masks.sum(axis=(1, 2)) == 400).all()
    for item, mask in zip(dataset['annotations'], masks):
        x, y, w, h = item['bbox']
        assert mask[y:y + h, x:x + w].all()


def test_damaged_masks_stop_only_what_loads_them(tmp_path):
    dataset = changed(coco_file(), 'annotations', 3, segmentation=[5])
    write_images(tmp_path, dataset)
    boxes = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True)]
    assert len(build_coco(tmp_path, dataset, pipeline=boxes)[1]['gt_bboxes'])
    for test_mode in (False, True):
        with pytest.raises(
                ValueError,
                match=r'c.json: the mask of annotation'
                r's\[3\] \(id 4\) is not a list of polygons'):
            build_coco(tmp_path, dataset, pipeline=LOAD, test_mode=test_mode)


def test_the_log_says_what_is_lost(tmp_path, caplog, monkeypatch):
    dataset = changed(coco_file(), 'annotations', 3, iscrowd=1)
    dataset['annotations'][5]['segmentation'] = square(1, 2)[0][:4]
    dataset['annotations'][5]['segmentation'] = [[1, 2, 3, 4]]
    dataset['images'].pop()
    write_images(tmp_path, dataset)
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [caplog.handler])
    build_coco(tmp_path, dataset, pipeline=LOAD)
    lines = [
        record.getMessage() for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    assert [line.split(' and ')[0].split(': ', 1)[1] for line in lines] == [
        '3 of 18 annotations belong to images that are not listed,',
        '1 of 15 annotations are marked iscrowd=1',
        '1 of 15 annotations are without a mask'
    ]
    assert all(line.startswith(f'{tmp_path}/c.json: ') for line in lines)
