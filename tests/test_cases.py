"""Files that users have: each stands for its kind, with neighbours.

What is right is a number, a sentence before the first image, or a sentence
in the log. Most of these gave a wrong number without a word once.
"""
import json
import logging
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from user_files import HEIGHT as H
from user_files import NAMES, RLE
from user_files import WIDTH as W
from user_files import coco_file as coco
from user_files import lvis_file as lvis

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.datasets.class_config import complete_config
from eql_mmdet.evaluation.coco_metric import COCOEvalMetric
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.losses.equalization import EqualizationLoss
from eql_mmdet.rarity.frequency import tail_table

POLYGONS = [
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True,
         poly2mask=False)
]  # yapf: disable
ENGINES = ['hotcoco', 'lvis']


@pytest.fixture
def save(tmp_path):
    init_default_scope('mmdet')

    def write(content, name='a.json'):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def log():

    class Keep(logging.Handler):
        text = ''

        def emit(self, record):
            self.text += record.getMessage() + '\n'

    handler, logger = Keep(), MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def predictions(content, classes=NAMES):
    """Perfect ones, with labels in the order of ``classes``."""
    names = {c['id']: c['name'] for c in content['categories']}
    samples = []
    for image in content['images']:
        mine = [
            a for a in content['annotations'] if a['image_id'] == image['id']
        ]
        boxes = torch.tensor([a['bbox'] for a in mine], dtype=torch.float64)
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.zeros(len(mine), H, W, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = True
        labels = [classes.index(names[a['category_id']]) for a in mine]
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(H, W),
                pred_instances=dict(
                    bboxes=boxes,
                    labels=torch.tensor(labels),
                    scores=torch.full((len(mine), ), 0.9),
                    masks=masks)))
    return samples


def evaluate(path,
             samples,
             classes=NAMES,
             metric=('bbox', 'segm'),
             kind=LVISEvalMetric,
             **kwargs):
    metric = kind(path, metric=list(metric), **kwargs)
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def build(path, kind='LVISFormatDataset', pipeline=(), **kwargs):
    return DATASETS.build(
        dict(type=kind, ann_file=path, pipeline=list(pipeline), **kwargs))


# 01: the head of an export, and fields that nobody reads.
@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('extra', [
    dict(info=dict(year='2024', version='3'), licenses=None),
    dict(info=[], licenses='CC', score=dict(a=[1])),
    dict(info=None, type='instances', version=3),
])
def test_01_fields_that_no_metric_needs_decide_nothing(save, engine, extra):
    content = dict(lvis(), **extra)
    content['images'][0].update(license='3', date_captured=2024)
    content['annotations'][0].update(score='high', attributes=None)
    content['categories'][0].update(supercategory=1, image_count='many')
    found = evaluate(save(content), predictions(lvis()), engine=engine)
    assert found['lvis/bbox_AP'] == found['lvis/segm_AP'] == 1


# 02: ids beyond what a float can count.
@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('ids', [
    (1700000000000000001, 1700000000000000002),
    (2**53, 2**53 + 1),
    (2**63 + 1, 2**63 + 2),
    (10**30, 10**30 + 1),
    (0, -5),
])
def test_02_ids_of_any_size_are_exact(save, engine, ids):
    content = lvis(ids)
    for item in content['annotations']:
        item['id'] += max(ids)
        item['category_id'] += ids[0]
    for item in content['categories']:
        item['id'] += ids[0]
    found = evaluate(save(content), predictions(content), engine=engine)
    assert found['lvis/bbox_AP'] == found['lvis/segm_AP'] == 1
    assert load_counts(save(content)).image_count.tolist() == [2, 2, 2]
    dataset = build(save(content))
    assert [dataset.get_data_info(i)['img_id'] for i in (0, 1)] == list(ids)


@pytest.mark.parametrize('value', ['000001', '1', [1], 1.5])
def test_02_ids_that_are_no_whole_numbers_are_named(save, value):
    content = lvis()
    content['images'][1]['id'] = value
    with pytest.raises(ValueError, match=r'a.json: images\[1\].id must be a '):
        load_counts(save(content))


# 03: the same categories in another order.
@pytest.mark.parametrize('order', [(2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize('engine', ENGINES)
def test_03_categories_in_another_order_are_the_same(save, order, engine):
    val = lvis()
    val['categories'] = [val['categories'][k] for k in order]
    found = evaluate(save(val), predictions(val), engine=engine)
    assert found['lvis/bbox_AP'] == 1
    dataset = build(save(val), metainfo=dict(classes=NAMES))
    assert dataset.get_cat_ids(0) == [0, 1, 2]


# 04: RLE masks where the pipeline wants polygons.
def test_04_rle_masks_need_bitmaps(save):
    content = lvis()
    for item in content['annotations']:
        item['segmentation'] = RLE
    path = save(content)
    with pytest.raises(ValueError, match='6 of 6 objects have RLE.*poly2mask'):
        build(path, pipeline=POLYGONS)
    loaded = build(path, pipeline=[dict(POLYGONS[0], poly2mask=True)])
    assert loaded.get_data_info(0)['instances'][0]['mask'] == RLE
    content['annotations'][0]['iscrowd'] = 1  # a crowd may be RLE
    for item in content['annotations'][1:]:
        item['segmentation'] = [[1, 1, 9, 1, 9, 9]]
    assert len(build(save(content), pipeline=POLYGONS)) == 2


# 05: images taken out, and annotations left.
def test_05_only_listed_images_count(save, log):
    content = coco()
    content['images'] = content['images'][:3]
    counts = load_counts(save(content))
    assert counts.num_images == 3
    assert counts.image_count.tolist() == [3, 3, 3]
    assert '9 of 18 annotations belong to images' in str(counts.findings[0])
    assert len(build(save(content), 'COCOFormatDataset')) == 3
    assert '9 of 18 annotations belong to images that are not' in log.text


@pytest.mark.parametrize('engine', ENGINES)
def test_05_evaluation_is_of_the_listed_images(save, log, engine):
    content = lvis((1, 2, 3))
    content['images'] = content['images'][:2]
    found = evaluate(save(content), predictions(content), engine=engine)
    assert found['lvis/bbox_AP'] == 1
    assert '3 of 9 annotations belong' in log.text


def test_05_annotations_of_unlisted_categories_are_named(save):
    content = coco()
    content['categories'] = content['categories'][:2]
    with pytest.raises(ValueError, match=r'a.json: annotations\[2\] \(id 3\)'):
        load_counts(save(content))


# 06: objects without masks, evaluated.
@pytest.mark.parametrize('kind', [LVISEvalMetric, COCOEvalMetric])
@pytest.mark.parametrize('mask, fault', [
    ([], 'has no mask'),
    (None, 'has no mask'),
    ([[]], 'has no polygon'),
    ([[1, 2, 3, 4]], 'has no polygon'),
    (dict(size=[H, W], counts=[H * W]), 'has no pixel'),
    (dict(size=[H, W], counts=[3]), 'does not describe'),
    (dict(size=[W, H], counts=[0, H * W]), r'\(100, 80\) in an image'),
    ([1, 2, 3, 4, 5, 6], 'is not a list of polygons'),
])
def test_06_masks_that_cannot_be_compared_are_named(save, kind, mask, fault):
    content = lvis()
    content['annotations'][0]['segmentation'] = mask
    with pytest.raises(
            ValueError, match=rf'annotations\[0\] \(id 1\) .*{fault}'):
        kind(save(content), metric=['bbox', 'segm'])
    kind(save(content), metric='bbox')


# 07, 08, 10: classes of the user.
def complete(save, classes):
    folder = save(coco(), 'train.json').rsplit('/', 1)[0]
    save(coco((1, 2)), 'val.json')
    loaders = {
        f'{name}_dataloader':
        dict(
            dataset=dict(
                type='COCOFormatDataset',
                ann_file=f'{folder}/{file}.json',
                metainfo=dict(classes=classes)))
        for name, file in dict(train='train', val='val', test='val').items()
    }
    head = dict(
        num_classes=None,
        loss_cls=dict(type='EqualizationLoss', frequency_source=None))
    cfg = Config(
        dict(
            custom_imports=dict(imports=['eql_mmdet']),
            model=dict(roi_head=dict(bbox_head=head)),
            **loaders))
    complete_config(cfg)
    return cfg


@pytest.mark.parametrize('classes, wrong', [
    (('disc', 'barr', 'dot'), '"barr" is'),
    (('Disc', 'Bar', 'Dot'), '"Disc", "Bar", "Dot" are'),
    (('disc ', 'bar', 'dot'), '"disc " is'),
])
def test_07_08_a_class_that_the_file_lacks_is_named(save, classes, wrong):
    cfg = complete(save, classes)
    message = f'{wrong} not among .*train.json: "disc", "bar", "dot"'
    with pytest.raises(ValueError, match=message):
        DATASETS.build(cfg.train_dataloader.dataset)


@pytest.mark.parametrize('classes', [('bar', ), ('dot', 'disc'), NAMES[::-1]])
def test_10_classes_of_the_user_hold_everywhere(save, classes):
    cfg = complete(save, classes)
    head = cfg.model.roi_head.bbox_head
    assert head.num_classes == len(classes)
    loss = EqualizationLoss(
        head.loss_cls.frequency_source,
        frequency_threshold=0.5,
        classes=head.loss_cls.classes)
    assert loss.classes == classes and len(loss.tail_mask) == len(classes)
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = DATASETS.build(cfg[loader].dataset)
        assert dataset.metainfo['classes'] == classes
        found = [classes[k] for k in dataset.get_cat_ids(0)]
        assert sorted(found) == sorted(classes)


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('classes', [('bar', ), ('dot', 'disc')])
def test_10_the_metric_is_of_the_chosen_classes(save, classes, engine):
    content = lvis()
    chosen = deepcopy(content)
    ids = [k + 1 for k, name in enumerate(NAMES) if name in classes]
    chosen['annotations'] = [
        a for a in content['annotations'] if a['category_id'] in ids
    ]
    samples = predictions(chosen, classes)
    found = evaluate(save(content), samples, classes, engine=engine)
    assert found['lvis/bbox_AP'] == 1
    groups = {'rcf'[k - 1] for k in ids}
    assert {g for g in 'rcf' if found[f'lvis/bbox_AP{g}'] == 1} == groups


# 12: a test set without annotations.
@pytest.mark.parametrize('kind', [LVISEvalMetric, COCOEvalMetric])
def test_12_a_test_set_gets_its_submission(save, tmp_path, kind):
    content = lvis()
    samples = predictions(content)
    del content['annotations']
    path, prefix = save(content), str(tmp_path / 'out')
    evaluate(path, samples, kind=kind, format_only=True, outfile_prefix=prefix)
    items = json.loads((tmp_path / 'out.segm.json').read_text())
    assert len(items) == 6 and {i['category_id'] for i in items} == {1, 2, 3}
    assert len(build(path, test_mode=True)) == 2
    with pytest.raises(ValueError, match='no "annotations"'):
        kind(path)
    with pytest.raises(ValueError, match='test set.*cannot be trained'):
        build(path)


# 13: boxes of which nothing is left.
@pytest.mark.parametrize('change, reason', [
    (lambda x, y, w, h: [x / W, y / H, w / W, h / H], 'smaller than 1 pixel'),
    (lambda x, y, w, h: [x, y, 0, 0], 'smaller than 1 pixel'),
    (lambda x, y, w, h: [x + 1000, y, w, h], 'outside their image'),
])
def test_13_a_training_of_nothing_stops(save, change, reason):
    content = lvis()
    for item in content['annotations']:
        item['bbox'] = change(*item['bbox'])
    message = f'none of its 6 objects is left.*6 of 6 annotations are {reason}'
    for use in (load_counts, build):
        with pytest.raises(ValueError, match=message):
            use(save(content))


@pytest.mark.parametrize('kind', [LVISEvalMetric, COCOEvalMetric])
@pytest.mark.parametrize('change, words', [
    (lambda x, y, w, h: [x / W, y / H, w / W, h / H],
     '6 of 6 annotations are smaller than 1 pixel and can hardly be found'),
    (lambda x, y, w, h: [x, y, x + w, y + h],
     'annotations reach more than a pixel out of their image'),
])
def test_13_an_evaluation_says_what_is_odd(save, log, kind, change, words):
    content = lvis()
    for item in content['annotations']:
        item['bbox'] = change(*item['bbox'])
    kind(save(content))
    assert words in log.text


def test_13_a_part_that_is_lost_is_counted(save, log):
    content = lvis()
    content['annotations'][1]['bbox'] = [5, 5, 0.5, 9]
    dataset = build(save(content))
    assert '1 of 6 annotations are smaller than 1 pixel' in log.text
    assert 'annotations[1] (id 2)' in log.text
    assert dataset.get_cat_ids(0) == [0, 2]
    assert load_counts(save(content)).image_count.tolist() == [2, 1, 2]


# 15: categories that no image has.
@pytest.mark.parametrize('places', [[0], [3], [0, 2, 5]])
def test_15_a_category_without_images_is_the_rarest(save, log, places):
    content = coco()
    for number, place in enumerate(places):
        content['categories'].insert(
            place, dict(id=100 + number, name=f'empty {number}'))
    path = save(content)
    counts = load_counts(path)
    empty = [n.startswith('empty') for n in counts.names]
    assert counts.image_count.tolist() == [0 if e else 6 for e in empty]
    loss = EqualizationLoss(path, tail_ratio=0.1)
    assert loss.tail_mask.bool().tolist() == empty
    assert f'{len(places)} categories have no training image: empty 0' \
        in log.text
    assert tail_table(counts)[0].protected >= len(places)
    build(path, 'COCOFormatDataset')
    assert f'{len(places)} of {3 + len(places)} categories have no ' \
        'annotation' in log.text


# 16: brush masks, which tools export as crowds.
def test_16_a_file_of_crowds_stops(save):
    content = coco()
    for item in content['annotations']:
        item.update(iscrowd=1, segmentation=RLE)
    message = '18 of 18 annotations are marked iscrowd=1'
    for use in (load_counts, lambda p: build(p, 'COCOFormatDataset')):
        with pytest.raises(ValueError, match=message):
            use(save(content))


def test_16_a_category_of_crowds_is_named(save, log):
    content = coco()
    for item in content['annotations'][::3]:
        item.update(iscrowd=1, segmentation=RLE)
    build(save(content), 'COCOFormatDataset')
    assert 'all annotations of "disc" are marked iscrowd=1' in log.text
    assert load_counts(save(content)).image_count.tolist() == [0, 6, 6]


# 17: merged files.
@pytest.mark.parametrize('kind, item, words', [
    ('categories', dict(id=2, name='bar again'), '2.*"bar".*"bar again"'),
    ('categories', dict(id=9, name='bar'), '2 and 9 are both named "bar"'),
    ('images', dict(id=1, file_name='x.png', height=5,
                    width=5), '1 stands twice.*"1.png".*"x.png"'),
    ('annotations', dict(id=3, image_id=1, category_id=1,
                         bbox=[1, 1, 5, 5]), '3 stands twice'),
])
def test_17_an_id_or_name_that_stands_twice_is_named(save, kind, item, words):
    content = coco()
    content[kind].append(item)
    with pytest.raises(ValueError, match=words):
        load_counts(save(content))


# 22: objects without an area.
@pytest.mark.parametrize('mask, area', [
    ([[5, 8, 25, 8, 25, 28, 5, 28]], 400),
    ([[5, 8, 25, 8, 25, 28]], None),
    (RLE, 400),
    (None, 400),
    ([], 400),
])
def test_22_an_area_comes_from_the_mask_or_the_box(save, mask, area):
    from pycocotools import mask as mask_utils

    from eql_mmdet.annotations.reader import read_annotations
    content = coco()
    item = content['annotations'][0]
    item.update(area=None, segmentation=mask)
    found = read_annotations(save(content)).areas[0]
    if area is None:
        rle = mask_utils.frPyObjects(mask, H, W)
        area = mask_utils.area(mask_utils.merge(rle))
    assert found == area
    del item['area']
    assert read_annotations(save(content, 'b.json')).areas[0] == area


def test_22_an_object_without_a_mask_is_named_before_training(save, log):
    content = coco()
    del content['annotations'][0]['area']
    del content['annotations'][1]['segmentation']
    dataset = build(save(content), 'COCOFormatDataset', POLYGONS)
    assert '1 of 18 annotations are without a mask' in log.text
    assert 'annotations[1] (id 2)' in log.text
    results = dataset.pipeline.transforms[0](
        dict(dataset.get_data_info(0), ori_shape=(H, W)))
    assert results['gt_ignore_flags'].tolist() == [False, True, False]


@pytest.mark.parametrize('box', [None, [1, 2, 3], 'box', [1, 2, None, 4]])
def test_22_an_object_without_a_box_is_refused(save, box):
    content = coco()
    content['annotations'][4]['bbox'] = box
    with pytest.raises(ValueError, match=r'a.json: annotations\[4\].bbox'):
        load_counts(save(content))


def test_a_file_that_changes_while_it_is_used_stops_the_run(save):
    path = save(coco())
    dataset = build(path, 'COCOFormatDataset')
    assert dataset.get_data_info(0)['instances'][0]['mask']
    save(coco((1, 2)))
    with pytest.raises(ValueError, match='a.json" was changed while'):
        dataset.get_data_info(1)


def test_two_data_sets_on_one_file_read_it_once(save):
    path = save(coco())
    first, other = (
        build(path, 'COCOFormatDataset', metainfo=dict(classes=classes))
        for classes in (NAMES, ('dot', )))
    assert first.annotations is other.annotations
    assert first.get_cat_ids(0) == [0, 1, 2] and other.get_cat_ids(0) == [0]
    np.testing.assert_equal(len(other.get_data_info(0)['instances']), 1)
