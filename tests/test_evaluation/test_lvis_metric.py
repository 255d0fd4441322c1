"""The metric against the official packages, and what it refuses."""
import csv
import json
import logging
import os
import sys
from collections import defaultdict
from pathlib import Path

import lvis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lvis_data import (make_dataset, make_sample, make_samples,
                       official_results, write_json)
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eql_mmdet.evaluation import detections, engines, results
from eql_mmdet.evaluation.engines import ENGINES
from eql_mmdet.evaluation.ground_truth import ground_truth
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.evaluation.protocol import METRICS as METRIC_NAMES
from eql_mmdet.evaluation.protocol import evaluate

logging.getLogger('lvis').setLevel(logging.ERROR)
MANY = settings(
    max_examples=int(os.environ.get('EQL_EXAMPLES', 30)),
    deadline=None,
    suppress_health_check=list(HealthCheck))
FREE = dict(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 7),
    categories=st.integers(1, 6),
    objects=st.sampled_from([0, 3, 12]),
    most=st.sampled_from([0, 2, 20, 20, 400]),
    levels=st.sampled_from([1, 4, 1000]))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('lvis')


@pytest.fixture
def case(tmp_path):
    """A data set with its file, and predictions."""
    generator = np.random.default_rng(3)
    dataset = make_dataset(generator, images=6, categories=5)
    samples = make_samples(generator, dataset)
    return dataset, write_json(tmp_path / 'ann.json', dataset), samples


def draw(folder, seed, images, categories, objects, most, levels):
    generator = np.random.default_rng(seed)
    dataset = make_dataset(generator, images, categories, objects)
    path = write_json(folder / 'ann.json', dataset)
    return dataset, path, make_samples(generator, dataset, most, levels)


def run(path, samples, **options):
    metric = LVISEvalMetric(path, **options)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def run_official(path, items, iou_type):
    ground_truth = lvis.LVIS(path)
    evaluator = lvis.LVISEval(ground_truth,
                              lvis.LVISResults(ground_truth, items), iou_type)
    evaluator.run()
    return evaluator


def official_values(path, items, iou_type):
    results = run_official(path, items, iou_type).get_results()
    return {f'lvis/{iou_type}_{k}': float(v) for k, v in results.items()}


@MANY
@given(**FREE)
def test_engines_are_equal_to_the_last_bit(folder, **free):
    dataset, path, samples = draw(folder, **free)
    found = {}
    for engine in ENGINES:
        metric = LVISEvalMetric(path, METRIC_NAMES, engine=engine)
        metric.process({}, samples)
        found[engine] = [
            item for name in METRIC_NAMES for item in evaluate(
                ENGINES[engine](ground_truth(metric.index, True)), name,
                results.merge_results(metric.results), metric.index, (1, 5,
                                                                      1000))
        ]
    for fast, reference in zip(*found.values()):
        assert (fast.name, fast.values) == (reference.name, reference.values)
        np.testing.assert_array_equal(fast.curves.recall,
                                      reference.curves.recall)
        np.testing.assert_array_equal(fast.curves.precision,
                                      reference.curves.precision)


@MANY
@given(**FREE, iou_type=st.sampled_from(['bbox', 'segm']))
def test_metric_equals_the_official_package(folder, iou_type, **free):
    dataset, path, samples = draw(folder, **free)
    items = official_results(samples, dataset, iou_type)
    values = run(path, samples, metric=iou_type)
    assert len(values) == 13
    if items:
        assert values == official_values(path, items, iou_type)


def test_generated_data_hold_every_hard_case():
    generator = np.random.default_rng(0)
    seen = defaultdict(bool)
    for _ in range(20):
        dataset = make_dataset(generator, images=6, categories=5)
        annotated = defaultdict(set)
        for item in dataset['annotations']:
            annotated[item['image_id']].add(item['category_id'])
        ids = [c['id'] for c in dataset['categories']]
        for image, sample in zip(
                dataset['images'],
                make_samples(generator, dataset, most=400, levels=5)):
            pred = sample['pred_instances']
            scores = pred['scores'].tolist()
            labels = {ids[label] for label in pred['labels'].tolist()}
            known = annotated[image['id']] | set(image['neg_category_ids'])
            seen['over 300'] |= len(scores) > 300
            seen['ties'] |= len(set(scores)) < len(scores)
            seen['not annotated'] |= not annotated[image['id']]
            seen['unchecked'] |= bool(labels - known)
            seen['negative'] |= bool(labels & set(image['neg_category_ids']))
            seen['not exhaustive'] |= bool(
                labels & set(image['not_exhaustive_category_ids']))
    assert len(seen) == 6 and all(seen.values())


@pytest.mark.skipif(
    'EQL_LVIS_ANN' not in os.environ,
    reason='EQL_LVIS_ANN is not the path of an LVIS annotation file')
def test_engines_are_equal_on_real_annotations(tmp_path):
    dataset = json.loads(Path(os.environ['EQL_LVIS_ANN']).read_text())
    wanted = int(os.environ.get('EQL_LVIS_IMAGES', 500))
    dataset['images'] = dataset['images'][:wanted]
    ids = {image['id'] for image in dataset['images']}
    dataset['annotations'] = [
        a for a in dataset['annotations'] if a['image_id'] in ids
    ]
    path = write_json(tmp_path / 'real.json', dataset)
    samples = make_samples(np.random.default_rng(0), dataset, most=60)
    values = [
        run(path, samples, metric=METRIC_NAMES, engine=engine)
        for engine in ENGINES
    ]
    assert values[0] == values[1]


@MANY
@given(**FREE)
def test_proposal_recall_equals_class_agnostic_coco(folder, **free):
    dataset, path, samples = draw(folder, **free)
    values = run(path, samples, metric='proposal', proposal_nums=(2, 5, 1000))
    items = official_results(samples, dataset, 'bbox')
    if not items or not dataset['annotations']:
        return
    dataset['annotations'].sort(key=lambda item: item['category_id'])
    for item in dataset['annotations']:
        item.update(iscrowd=0, category_id=1)
    for item in items:
        item['category_id'] = 1
    dataset['categories'] = [dict(id=1, name='object')]
    ground_truth = COCO()
    ground_truth.dataset = dataset
    ground_truth.createIndex()
    coco = COCOeval(ground_truth, ground_truth.loadRes(items), 'bbox')
    coco.params.useCats, coco.params.maxDets = 0, [2, 5, 1000]
    coco.evaluate()
    coco.accumulate()
    for area, letter in enumerate(('', 's', 'm', 'l')):
        for column, number in enumerate(coco.params.maxDets):
            recall = coco.eval['recall'][:, :, area, column]
            existing = recall[recall > -1]
            expected = existing.mean() if existing.size else -1
            assert values[f'lvis/AR{letter}@{number}'] == expected


def test_proposals_need_no_category(case):
    dataset, path, samples = case
    values = run(path, samples, metric='proposal')
    for sample in samples:
        sample['pred_instances']['labels'][:] = 0
    assert run(path, samples, metric='proposal') == values
    assert values['lvis/AR@1000'] > 0.2


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('cap', [4, 10000])
def test_fixed_ap_equals_its_authors_procedure(monkeypatch, case, iou_type,
                                               cap):
    dataset, path, _ = case
    samples = make_samples(
        np.random.default_rng(0), dataset, most=400, levels=300)
    monkeypatch.setattr(detections, 'MAX_PER_CATEGORY', cap)
    values = run(path, samples, metric='lvis_fixed')
    samples.sort(key=lambda sample: sample['img_id'])
    by_category = defaultdict(list)
    for item in official_results(samples, dataset, iou_type):
        by_category[item['category_id']].append(item)
    kept = []
    for items in by_category.values():
        kept += sorted(items, key=lambda i: i['score'], reverse=True)[:cap]
    ground_truth = lvis.LVIS(path)
    evaluator = lvis.LVISEval(
        ground_truth, lvis.LVISResults(ground_truth, kept, max_dets=-1),
        iou_type)
    evaluator.run()
    expected = {
        f'lvis/lvis_fixed_{iou_type}_{name}': float(value)
        for name, value in evaluator.get_results().items() if 'AP' in name
    }
    assert expected == {k: v for k, v in values.items() if iou_type in k}
    assert len(expected) == 9


def test_masks_with_scores_of_their_own_are_ranked_by_them(case):
    dataset, path, _ = case
    generator = np.random.default_rng(0)
    samples = make_samples(generator, dataset, most=500, levels=1000)
    plain = run(path, samples, metric=['bbox', 'segm'])
    for sample in samples:
        pred = sample['pred_instances']
        pred['mask_scores'] = pred['scores']
        pred['scores'] = torch.rand(len(pred['scores']))
    values = run(path, samples, metric=['bbox', 'segm'])
    for name, value in values.items():
        if 'segm' in name:
            assert value == plain[name]
    assert values['lvis/bbox_AP'] != plain['lvis/bbox_AP']


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('emptied', [True, False])
def test_no_detections_give_zeros_and_a_warning(case, caplog, engine, emptied):
    dataset, path, samples = case
    for item in dataset['categories']:
        item['frequency'] = 'c'
    write_json(Path(path), dataset)
    empty = [make_sample(image, [], [], [])
             for image in dataset['images']] if emptied else []
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    values = run(path, empty, metric=METRIC_NAMES, engine=engine)
    logger.removeHandler(caplog.handler)
    assert values['lvis/bbox_AP'] == values['lvis/segm_APc'] == 0
    assert values['lvis/AR@100'] == values['lvis/lvis_fixed_bbox_AP'] == 0
    assert values['lvis/bbox_APr'] == values['lvis/segm_APf'] == -1
    assert 'no detection' in caplog.text


def test_images_without_prediction_count_and_are_told(case, caplog):
    dataset, path, samples = case
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    values = run(path, samples[:2])
    logger.removeHandler(caplog.handler)
    assert '4 of 6 images' in caplog.text
    items = official_results(samples[:2], dataset, 'bbox')
    assert values == official_values(path, items, 'bbox')


def test_items_and_prefix_choose_what_is_recorded(case):
    _, path, samples = case
    values = run(path, samples, metric_items=['AP', 'APr'], prefix='val')
    assert set(values) == {'val/bbox_AP', 'val/bbox_APr'}


def test_half_precision_predictions_are_evaluated_as_they_are(case):
    _, path, samples = case
    for sample in samples:
        pred = sample['pred_instances']
        pred['scores'] = pred['scores'].bfloat16()
        pred['bboxes'] = pred['bboxes'].half()
    rounded = run(path, samples)
    for sample in samples:
        pred = sample['pred_instances']
        pred['scores'] = pred['scores'].float()
        pred['bboxes'] = pred['bboxes'].float()
    assert run(path, samples) == rounded


def test_metric_works_in_the_evaluator_of_the_host(case):
    dataset, path, samples = case
    config = dict(type='LVISEvalMetric', ann_file=path, metric=['segm'])
    evaluator = Evaluator([METRICS.build(config)])
    names = tuple(c['name'] for c in dataset['categories'])
    evaluator.dataset_meta = dict(classes=names)
    for sample in samples:
        info = {k: sample[k] for k in ('img_id', 'ori_shape')}
        data = DetDataSample(metainfo=info)
        data.pred_instances = InstanceData(**sample['pred_instances'])
        evaluator.process([data])
    assert evaluator.evaluate(len(samples)) == run(
        path, samples, metric='segm')


def test_classwise_writes_every_category(case, tmp_path):
    dataset, path, samples = case
    prefix = str(tmp_path / 'out')
    metric = ['bbox', 'segm']
    values = run(
        path, samples, metric=metric, classwise=True, outfile_prefix=prefix)
    assert set(values) == set(run(path, samples, metric=metric))
    with open(f'{prefix}.per_category.csv') as file:
        rows = list(csv.DictReader(file))
    evaluator = run_official(path, official_results(samples, dataset, 'segm'),
                             'segm')
    by_id = sorted(dataset['categories'], key=lambda c: c['id'])
    for column, (row, category) in enumerate(zip(rows, by_id)):
        truths = sum(a['category_id'] == category['id']
                     for a in dataset['annotations'])
        assert row['id'] == str(category['id'])
        assert row['name'] == category['name']
        assert row['frequency'] == category['frequency']
        assert row['image_count'] == str(category['image_count'])
        assert row['ground_truths'] == str(truths)
        if truths == 0:
            assert row['segm_AP'] == row['segm_AR'] == row['bbox_AP'] == ''
            continue
        precision = evaluator.eval['precision'][:, :, column, 0]
        assert float(row['segm_AP']) == precision.mean()
        recall = evaluator.eval['recall'][:, column, 0]
        assert float(row['segm_AR']) == recall.mean()
    aps = [float(row['bbox_AP']) for row in rows if row['bbox_AP']]
    assert np.mean(aps) == pytest.approx(values['lvis/bbox_AP'])


def test_classwise_without_prefix_writes_beside_the_log(case, tmp_path):
    _, path, samples = case
    MMLogger.get_instance('beside', log_file=str(tmp_path / 'run.log'))
    run(path, samples, classwise=True)
    assert (tmp_path / 'per_category.csv').exists()
    assert 'best by bbox_AP' in (tmp_path / 'run.log').read_text()


@pytest.mark.parametrize('format_only', [True, False])
def test_submission_files_hold_every_detection(case, tmp_path, format_only):
    dataset, path, _ = case
    samples = make_samples(np.random.default_rng(1), dataset, most=400)
    prefix = str(tmp_path / 'new' / 'out')
    values = run(
        path,
        samples,
        metric=['bbox', 'segm'],
        format_only=format_only,
        outfile_prefix=prefix)
    expected = run(path, samples, metric=['bbox', 'segm'])
    assert values == ({} if format_only else expected)
    for iou_type in ('bbox', 'segm'):
        items = json.loads(Path(f'{prefix}.{iou_type}.json').read_text())
        wanted = official_results(samples, dataset, iou_type)
        for item in wanted if iou_type == 'segm' else ():
            counts = item['segmentation']['counts'].decode()
            item['segmentation']['counts'] = counts
        assert sorted(map(json.dumps, items)) == sorted(
            json.dumps({k: item[k]
                        for k in items[0]}) for item in wanted)
        assert official_values(path, items, iou_type) == {
            k: v
            for k, v in expected.items() if iou_type in k
        }


def test_format_only_reads_a_test_set_without_annotations(case, tmp_path):
    dataset, path, samples = case
    del dataset['annotations']
    for image in dataset['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    write_json(Path(path), dataset)
    prefix = str(tmp_path / 'out')
    assert run(path, samples, format_only=True, outfile_prefix=prefix) == {}
    assert Path(f'{prefix}.segm.json').exists()
    with pytest.raises(ValueError, match='no "annotations".*format_only'):
        run(path, samples)


def test_the_slow_engine_tells_how_far_it_is(case, monkeypatch, caplog):
    _, path, samples = case
    monkeypatch.setattr(engines, 'PROGRESS_STEP', 1)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    run(path, samples, engine='lvis')
    logger.removeHandler(caplog.handler)
    assert 'lvis has compared 50 %' in caplog.text


def test_nothing_is_written_unless_asked_for(case, tmp_path, monkeypatch):
    _, path, samples = case
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    run(path, samples, metric=METRIC_NAMES)
    assert sorted(tmp_path.rglob('*')) == before


def damage(samples, name):
    """Damage the first sample with at least two detections."""
    sample = next(s for s in samples if len(s['pred_instances']['labels']) > 1)
    pred = sample['pred_instances']
    if name in ('nan score', 'infinite score'):
        pred['scores'][1] = float(name.split()[0].replace('inite', ''))
    elif name in ('nan box', 'infinite box'):
        pred['bboxes'][1, 2] = float(name.split()[0].replace('inite', ''))
    elif name == 'reversed box':
        pred['bboxes'][0] = torch.tensor([9., 9., 1., 1.])
    elif name == 'mask size':
        pred['masks'] = pred['masks'][:, 1:]
    elif name == 'mask type':
        pred['masks'] = pred['masks'].float()
    elif name == 'fewer masks':
        pred['masks'] = pred['masks'][1:]
    elif name == 'no masks':
        del pred['masks']
    elif name == 'large label':
        pred['labels'][0] = 5
    elif name == 'negative label':
        pred['labels'][0] = -1
    elif name == 'fewer scores':
        pred['scores'] = pred['scores'][1:]
    elif name == 'box shape':
        pred['bboxes'] = torch.zeros(len(pred['labels']), 5)
    elif name == 'image size':
        sample['ori_shape'] = (7, 7)
    elif name == 'no predictions':
        del sample['pred_instances']
    return sample['img_id']


@pytest.mark.parametrize('name, message', [
    ('nan score', 'finite'),
    ('infinite score', 'finite'),
    ('nan box', 'finite'),
    ('infinite box', 'finite'),
    ('reversed box', 'x2 >= x1'),
    ('mask size', r'must have its size .* ann_file'),
    ('mask type', 'boolean'),
    ('fewer masks', r"'masks': \d+"),
    ('no masks', 'needs masks'),
    ('large label', r'0\.\.4.* check num_classes'),
    ('negative label', r'-1\.\.'),
    ('fewer scores', 'one score, label and mask'),
    ('box shape', r'\(n, 4\)'),
    ('image size', r'\(7, 7\).* ann_file'),
    ('no predictions', 'pred_instances'),
])
def test_wrong_predictions_are_refused_by_image(case, name, message):
    _, path, samples = case
    image_id = damage(samples, name)
    error = TypeError if name == 'mask type' else ValueError
    with pytest.raises(
            error,
            match=f'image {image_id}[ ,].*{message}|'
            f'{message}.* image {image_id}[ ,]'):
        run(path, samples, metric=['bbox', 'segm'])


def test_an_image_of_another_file_is_refused(case):
    _, path, samples = case
    samples[0]['img_id'] = 99
    with pytest.raises(ValueError, match='image 99 .* is not in .*ann_file'):
        run(path, samples)


@MANY
@given(**FREE, iou_type=st.sampled_from(['bbox', 'segm']))
def test_what_has_no_area_counts_as_in_the_official_package(
        folder, iou_type, **free):
    dataset, path, samples = draw(folder, **free)
    for item in dataset['annotations'][::3]:
        item['area'] = 0
    write_json(Path(path), dataset)
    for sample in samples:
        boxes = sample['pred_instances']['bboxes']
        boxes[::2, 2] = boxes[::2, 0]
        sample['pred_instances']['masks'][::2] = False
    items = official_results(samples, dataset, iou_type)
    if items:
        expected = official_values(path, items, iou_type)
        for engine in ENGINES:
            assert run(
                path, samples, metric=iou_type, engine=engine) == expected
        fast, reference = (
            run(path, samples, metric='proposal', engine=engine)
            for engine in ENGINES)
        assert fast == reference


def one_object(tmp_path):
    """A file with one image and one object of 20 x 20 pixels."""
    image = dict(
        id=1,
        height=200,
        width=200,
        neg_category_ids=[],
        not_exhaustive_category_ids=[])
    x, y, side = 10.0, 10.0, 20.0
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    item = dict(
        id=1,
        image_id=1,
        category_id=1,
        bbox=[x, y, side, side],
        area=400.0,
        segmentation=[polygon])
    category = dict(id=1, name='cup', frequency='r', image_count=3)
    dataset = dict(images=[image], annotations=[item], categories=[category])
    return write_json(tmp_path / 'one.json', dataset), image


FOUND, MISSED = [10., 10., 30., 30.], [50., 50., 70., 70.]


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('before, counts', [(299, True), (300, False)])
def test_the_best_300_of_an_image_count(tmp_path, engine, before, counts):
    path, image = one_object(tmp_path)
    scores = [0.9] * before + [0.5]
    sample = make_sample(image, [MISSED] * before + [FOUND], scores,
                         [0] * len(scores))
    values = run(path, [sample], metric=['bbox', 'segm'], engine=engine)
    expected = 1 / (before + 1) if counts else 0
    assert values['lvis/bbox_AP'] == pytest.approx(expected)
    assert values['lvis/segm_AP'] == pytest.approx(expected)
    assert values['lvis/bbox_AR@300'] == counts


@pytest.mark.parametrize('engine', ENGINES)
def test_fixed_ap_and_proposals_are_not_cut_at_300(tmp_path, engine):
    path, image = one_object(tmp_path)
    scores = [0.9] * 400 + [0.5]
    sample = make_sample(image, [MISSED] * 400 + [FOUND], scores,
                         [0] * len(scores))
    values = run(
        path, [sample], metric=['proposal', 'lvis_fixed'], engine=engine)
    assert values['lvis/AR@300'] == 0 and values['lvis/AR@1000'] == 1
    for iou_type in ('bbox', 'segm'):
        found = values[f'lvis/lvis_fixed_{iou_type}_AP']
        assert found == pytest.approx(1 / 401)


@pytest.mark.parametrize('engine', ENGINES)
def test_the_area_of_a_mask_is_not_that_of_its_box(tmp_path, engine):
    path, image = one_object(tmp_path)
    sample = make_sample(image, [[40., 40., 190., 190.], FOUND], [0.9, 0.5],
                         [0, 0])
    mask = sample['pred_instances']['masks'][0]
    mask[:] = False
    mask[40:50, 40:50] = True
    values = run(path, [sample], metric=['bbox', 'segm'], engine=engine)
    assert values['lvis/bbox_APs'] == pytest.approx(1)
    assert values['lvis/segm_APs'] == pytest.approx(1 / 2)


def test_the_size_of_the_data_set_does_not_cut_results(case):
    _, path, samples = case
    metric = LVISEvalMetric(path)
    metric.process({}, samples)
    assert metric.evaluate(1) == run(path, samples)


def test_an_image_predicted_twice_counts_once_or_is_refused(case):
    _, path, samples = case
    expected = run(path, samples)
    assert run(path, samples + samples[:2]) == expected
    changed = make_samples(np.random.default_rng(9), case[0], most=20)[1]
    image_id = samples[1]['img_id']
    with pytest.raises(ValueError, match=f'image {image_id} has two diff'):
        run(path, samples + [changed])


@pytest.mark.parametrize('options, message', [
    (dict(metric='mAP'), "'proposal', 'lvis_fixed'.*'mAP'"),
    (dict(metric=['bbox', 'proposal_fast']), 'proposal_fast'),
    (dict(metric_items=['mAP']), "'APr'.*'mAP'"),
    (dict(engine='coco'), "'hotcoco', 'lvis'.*'coco'"),
    (dict(format_only=True), 'outfile_prefix'),
    (dict(proposal_nums=(0, 10)), 'proposal_nums'),
    (dict(metric='proposal', classwise=True), 'classwise=True'),
])
def test_wrong_arguments_are_refused(case, options, message):
    with pytest.raises(ValueError, match=message):
        LVISEvalMetric(case[1], **options)


@pytest.mark.parametrize('classes, message', [
    (('one', 'two'), '"one", "two" are not among the 5 categories'),
    (tuple('abcde'), '"a", "b".* are not among the 5 categories'),
])
def test_another_data_set_is_refused(case, classes, message):
    metric = LVISEvalMetric(case[1])
    with pytest.raises(ValueError, match=message):
        metric.dataset_meta = dict(classes=classes)


@pytest.mark.parametrize('engine', ENGINES)
def test_a_missing_engine_says_how_to_get_it(case, monkeypatch, engine):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(ImportError, match=f'pip install .*{engine}'):
        LVISEvalMetric(case[1], engine=engine)
