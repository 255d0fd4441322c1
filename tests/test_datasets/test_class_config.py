"""Classes are said once, by the file or by the user, and hold everywhere."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from eql_mmdet.datasets.class_config import complete_config

sys.path.insert(0, str(Path(__file__).parents[1]))
from class_project import write_split  # noqa: E402

ROOT = Path(__file__).parents[2]
COCO = f"_base_ = '{ROOT}/configs/eql_r50_fpn_1x_coco_format.py'\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with ``data/custom``: disc, bar, dot; dot is rare."""
    custom = tmp_path / 'data/custom'
    write_split(custom, 'train', [(0, 1)] * 5 + [(0, 1, 2)])
    write_split(custom, 'val', [(0, 1, 2)])
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')
    return tmp_path


def read(project, text='', **options):
    path = project / 'mine.py'
    path.write_text(COCO + text)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    return cfg


def completed(*args, **options):
    cfg = read(*args, **options)
    complete_config(cfg)
    return cfg


def numbers(cfg):
    head = cfg.model.roi_head
    return head.bbox_head.num_classes, head.mask_head.num_classes


def choose(*classes):
    return (f'classes = dict(metainfo=dict(classes={classes}))\n'
            'train_dataloader = dict(dataset=classes)\n'
            'val_dataloader = test_dataloader = dict(dataset=classes)\n')


def test_the_file_says_how_many_classes_there_are(project):
    cfg = read(project)
    assert numbers(cfg) == (3, 3)
    loss = cfg.model.roi_head.bbox_head.loss_cls
    assert loss.frequency_source == 'data/custom/annotations/train.json'
    assert cfg.val_evaluator.ann_file == 'data/custom/annotations/val.json'


def test_without_the_file_the_number_stays_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert numbers(read(tmp_path)) == (None, None)


def test_other_data_on_the_command_line_bring_other_numbers(project):
    write_split(project / 'other', 'train', [(0, 1)], names=('a', 'b'))
    write_split(project / 'other', 'val', [(0, 1)], names=('a', 'b'))
    cfg = completed(
        project, **{
            f'{loader}_dataloader.dataset.data_root': 'other/'
            for loader in ('train', 'val', 'test')
        })
    assert numbers(cfg) == (2, 2)
    loss = cfg.model.roi_head.bbox_head.loss_cls
    assert loss.frequency_source == 'other/annotations/train.json'
    assert cfg.test_evaluator.ann_file == 'other/annotations/val.json'


@pytest.mark.parametrize('head', ['bbox_head', 'mask_head'])
def test_a_number_that_is_stated_is_checked(project, head):
    text = f'model = dict(roi_head=dict({head}=dict(num_classes=4)))'
    message = f'{head}.num_classes is 4.*3 classes'
    with pytest.raises(ValueError, match=message):
        completed(project, text)
    completed(project, text.replace('4', '3'))


@pytest.mark.parametrize('classes, message', [
    (('disc', 'barr', 'dot'), '"barr" is not among .*"disc", "bar", "dot"'),
    (('Disc', 'Bar', 'Dot'), '"Disc", "Bar", "Dot" are not among'),
    (('disc', 'disc'), '"disc" stands twice'),
    ((), 'there is none'),
])
def test_classes_that_the_file_lacks_are_refused(project, classes, message):
    with pytest.raises(ValueError, match=message):
        cfg = completed(project, choose(*classes))
        DATASETS.build(cfg.train_dataloader.dataset)


def test_a_plain_string_is_no_list_of_classes(project):
    text = choose('x').replace("('x',)", "'disc'")
    with pytest.raises(TypeError, match=r'write \("disc", \)'):
        completed(project, text)


def test_chosen_classes_hold_in_every_part(project):
    cfg = completed(project, choose('dot', 'disc'))
    assert numbers(cfg) == (2, 2)
    loss = cfg.model.roi_head.bbox_head.loss_cls
    assert tuple(loss.classes) == ('dot', 'disc')
    train, val = (
        DATASETS.build(cfg[loader].dataset)
        for loader in ('train_dataloader', 'val_dataloader'))
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('dot',
                                                                    'disc')
    assert [set(train.get_cat_ids(i)) for i in (0, 5)] == [{1}, {0, 1}]
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = val.metainfo
    assert metric.cat_ids == [30, 10]


@pytest.mark.parametrize('order', [(2, 1, 0), (1, 2, 0)])
def test_a_val_file_in_another_order_is_read_by_name(project, order):
    write_split(project / 'data/custom', 'val', [(0, 1, 2)], order=order)
    cfg = completed(project)
    for name in ('val_dataloader', 'test_dataloader'):
        dataset = DATASETS.build(cfg[name].dataset)
        assert dataset.metainfo['classes'] == ('disc', 'bar', 'dot')
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    assert metric.cat_ids == [10, 20, 30]
    metric.process({}, [perfect(dataset, 0)])
    assert metric.evaluate(1)['coco/bbox_mAP'] == 1.0


def perfect(dataset, index):
    info = dataset.get_data_info(index)
    found = info['instances']
    masks = torch.zeros(len(found), info['height'], info['width']).bool()
    for mask, item in zip(masks, found):
        x1, y1, x2, y2 = map(int, item['bbox'])
        mask[y1:y2, x1:x2] = True
    return dict(
        img_id=info['img_id'],
        ori_shape=(info['height'], info['width']),
        pred_instances=dict(
            bboxes=torch.tensor([item['bbox'] for item in found]),
            labels=torch.tensor([item['bbox_label'] for item in found]),
            scores=torch.full((len(found), ), 0.9),
            masks=masks))


def test_a_val_file_with_more_categories_stops_unless_classes_are_chosen(
        project):
    names = ('disc', 'bar', 'dot', 'ring')
    write_split(project / 'data/custom', 'val', [(0, 1, 2, 3)], names=names)
    with pytest.raises(ValueError, match='val.json has categories .*: ring'):
        completed(project)
    cfg = completed(project, choose('disc', 'bar', 'dot'))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    assert dataset.get_cat_ids(0) == [0, 1, 2]


def test_a_val_file_with_fewer_categories_is_refused_by_name(project):
    write_split(
        project / 'data/custom', 'val', [(0, 1)], names=('disc', 'bar'))
    cfg = completed(project)
    with pytest.raises(ValueError, match='"dot" is not among.*val.json'):
        DATASETS.build(cfg.val_dataloader.dataset)


def test_frequencies_in_another_order_are_read_by_name(project):
    (project / 'counts.csv').write_text(
        '# num_images: 6\nid,name,frequency,image_count,instance_count\n'
        '30,dot,r,1,1\n10,disc,f,6,6\n20,bar,f,6,6\n')
    cfg = completed(
        project, 'model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict('
        "frequency_source='counts.csv'))))")
    classes = cfg.model.roi_head.bbox_head.loss_cls.classes
    assert tuple(classes) == ('disc', 'bar', 'dot')


@pytest.mark.parametrize('metric', ['CocoMetric', 'LVISMetric'])
def test_rle_masks_and_a_metric_of_bitmaps_are_refused(project, metric):
    text = (f"val_evaluator = dict(type='{metric}')\n"
            'test_evaluator = val_evaluator\n')
    with pytest.raises(ValueError, match=f'{metric}.*rle=True'):
        completed(project, text)
    completed(
        project,
        text + 'model = dict(roi_head=dict(mask_head=dict(rle=False)))\n')


def test_rle_masks_give_the_numbers_of_bitmaps(project):
    from eql_mmdet.heads.rle import encode_mask
    from eql_mmdet.heads.rle_masks import RLEMasks
    cfg = completed(project)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    values = []
    for as_rle in (False, True):
        metric = METRICS.build(cfg.val_evaluator)
        metric.dataset_meta = dataset.metainfo
        sample = perfect(dataset, 0)
        bitmaps = sample['pred_instances']['masks'].numpy()
        bitmaps[0, :20] = False  # not all of them perfect
        if as_rle:
            counts = [encode_mask(mask) for mask in bitmaps]
            sample['pred_instances']['masks'] = RLEMasks(counts, (96, 96))
        metric.process({}, [sample])
        values.append(metric.evaluate(1))
    assert values[0] == values[1]
    assert 0 < values[0]['coco/segm_mAP'] < 1


def test_coco_numbers_are_those_of_the_host(project):
    path = project / 'data/custom/annotations/val.json'
    content = json.loads(path.read_text())
    for number, item in enumerate(content['annotations']):
        item['iscrowd'] = int(number == 1)  # the host wants it everywhere
    content['annotations'][1]['segmentation'] = dict(
        size=[96, 96], counts=[48 * 96, 96, 47 * 96])
    path.write_text(json.dumps(content))
    dataset = DATASETS.build(completed(project).val_dataloader.dataset)
    values = []
    for name in ('CocoMetric', 'COCOEvalMetric'):
        metric = METRICS.build(
            dict(
                type=name,
                ann_file=str(path),
                metric=['bbox', 'segm'],
                classwise=True))
        metric.dataset_meta = dataset.metainfo
        sample = perfect(dataset, 0)
        sample['pred_instances']['bboxes'] += torch.tensor([0., 4, 3, 0])
        metric.process({}, [sample])
        values.append(metric.evaluate(1))
    np.testing.assert_equal(values[0], values[1])
    assert len(set(values[0].values())) > 3


@pytest.mark.parametrize('id_', [0, None])
def test_the_annotation_of_number_0_counts_like_any_other(project, id_):
    path = project / 'data/custom/annotations/val.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['id'] = id_
    path.write_text(json.dumps(content))
    cfg = completed(project)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [perfect(dataset, 0)])
    assert metric.evaluate(1)['coco/bbox_mAP'] == 1.0


def test_an_object_without_a_mask_stops_mask_evaluation(project):
    path = project / 'data/custom/annotations/val.json'
    content = json.loads(path.read_text())
    content['annotations'][1]['segmentation'] = []
    path.write_text(json.dumps(content))
    cfg = completed(project)
    with pytest.raises(ValueError, match=r'annotations\[1\] .* has no mask'):
        METRICS.build(cfg.val_evaluator)
    METRICS.build(dict(cfg.val_evaluator, metric='bbox'))


@pytest.mark.parametrize('settings', [
    dict(model=dict(type='A'), custom_hooks=[]),
    dict(model='a name', train_dataloader=[1], val_evaluator='x'),
    dict(model=dict(roi_head=[dict(num_classes=None)], module=3)),
    dict(train_dataloader=dict(dataset=[dict(type='B')]), custom_imports=None)
])
def test_configs_of_others_are_left_alone(settings):
    cfg = Config(settings)
    before = cfg.to_dict()
    complete_config(cfg)
    assert cfg.to_dict() == before == settings


def test_wrapped_data_sets_are_found(project):
    inner = 'type=\'RepeatDataset\', times=2, _delete_=True, dataset=dict(' \
        "type='COCOFormatDataset', data_root='data/custom', " \
        "ann_file='annotations/train.json', pipeline=[])"
    cfg = completed(project, f'train_dataloader = dict(dataset=dict({inner}))')
    assert numbers(cfg) == (3, 3)
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 12


def test_labels_of_images_are_counted_once(project):
    dataset = DATASETS.build(completed(project).train_dataloader.dataset)
    labels = [dataset.get_cat_ids(i) for i in range(len(dataset))]
    assert np.bincount(np.concatenate(labels)).tolist() == [6, 6, 1]
