"""COCO files in the terms of LVIS have the AP that COCO's own code gives."""
import copy

import numpy as np
import pytest
from lvis_data import make_dataset, make_samples, write_json

from eql_mmdet.annotations.exhaustive import load_any_index
from eql_mmdet.evaluation import protocol
from eql_mmdet.evaluation.coco_metric import COCOEvalMetric
from eql_mmdet.evaluation.engines import HotcocoEngine
from eql_mmdet.evaluation.ground_truth import ground_truth
from eql_mmdet.evaluation.predictions import read_sample
from eql_mmdet.evaluation.results import compact


def coco_of(dataset):
    """The same set without the fields of LVIS."""
    dataset = copy.deepcopy(dataset)
    for image in dataset['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    for category in dataset['categories']:
        del category['frequency'], category['image_count']
    return dataset


def evaluate(path, samples, kind, counts=None):
    index = load_any_index(path, None, counts)
    needs = protocol.needs_of([kind], (), index)
    results = [
        compact(read_sample(sample, index), index, needs)
        for sample in copy.deepcopy(samples)
    ]
    engine = HotcocoEngine(ground_truth(index, kind == 'segm'))
    found, = protocol.evaluate(engine, kind, results, index, ())
    return found.values


@pytest.fixture(params=range(4))
def case(request, tmp_path):
    rng = np.random.default_rng(request.param)
    dataset = make_dataset(rng, images=12, categories=7)
    samples = make_samples(rng, dataset, most=12, levels=50)
    return coco_of(dataset), samples, tmp_path


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_ap_is_that_of_the_host(case, kind):
    dataset, samples, folder = case
    path = write_json(folder / 'coco.json', dataset)
    values = evaluate(path, samples, kind)
    metric = COCOEvalMetric(ann_file=path, metric=[kind])
    metric.dataset_meta = dict(
        classes=tuple(c['name'] for c in dataset['categories']))
    metric.process({}, copy.deepcopy(samples))
    theirs = metric.evaluate(len(samples))
    for ours, name in (('AP', 'mAP'), ('AP50', 'mAP_50'), ('AP75', 'mAP_75')):
        # The host rounds to three digits.
        assert values[ours] == pytest.approx(
            theirs[f'coco/{kind}_{name}'], abs=5.1e-4)


def test_ap_is_that_of_an_lvis_file_that_says_the_same(case):
    dataset, samples, folder = case
    plain = write_json(folder / 'coco.json', dataset)
    ids = [category['id'] for category in dataset['categories']]
    for image in dataset['images']:
        own = {
            a['category_id']
            for a in dataset['annotations'] if a['image_id'] == image['id']
        }
        image.update(
            neg_category_ids=sorted(set(ids) - own),
            not_exhaustive_category_ids=[])
    for category, letter in zip(dataset['categories'], 'rrccfff'):
        category.update(frequency=letter)
    said = write_json(folder / 'lvis.json', dataset)
    names = [category['name'] for category in dataset['categories']]
    counts = dict(zip(names, (1, 10, 11, 100, 101, 500, 1000)))
    assert evaluate(plain, samples, 'bbox',
                    counts) == evaluate(said, samples, 'bbox')


def test_what_is_found_in_a_crowd_counts_neither_way(case):
    dataset, _, folder = case
    image, category = dataset['images'][0], dataset['categories'][0]
    dataset['annotations'] = [
        dict(
            id=1,
            image_id=image['id'],
            category_id=category['id'],
            bbox=[2, 2, 10, 10],
            area=100,
            iscrowd=0),
        dict(
            id=2,
            image_id=image['id'],
            category_id=category['id'],
            bbox=[20, 2, 10, 10],
            area=100,
            iscrowd=1)
    ]
    boxes = np.array([[20, 2, 30, 12], [2, 2, 12, 12]], np.float32)
    sample = dict(
        img_id=image['id'],
        ori_shape=(image['height'], image['width']),
        pred_instances=dict(
            bboxes=boxes, scores=np.array([0.9, 0.8]), labels=np.zeros(2,
                                                                       int)))
    path = write_json(folder / 'coco.json', dataset)
    assert evaluate(path, [sample], 'bbox')['AP'] == pytest.approx(1)
    del dataset['annotations'][1]
    path = write_json(folder / 'other.json', dataset)
    assert evaluate(path, [sample], 'bbox')['AP'] == pytest.approx(0.5)


def test_half_an_lvis_file_is_refused(case):
    dataset, _, folder = case
    dataset['categories'][0]['frequency'] = 'r'
    path = write_json(folder / 'half.json', dataset)
    with pytest.raises(ValueError, match='frequency must be r, c or f'):
        load_any_index(path)
