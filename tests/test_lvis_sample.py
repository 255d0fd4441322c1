"""The first real LVIS file here: 100 images of LVIS v0.5 val."""
import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from lvis_data import official_results, write_json
from mmdet.registry import DATASETS

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.annotations.reader import read_annotations
from eql_mmdet.datasets.samplers import RepeatFactorSampler
from eql_mmdet.evaluation.saved import evaluate_predictions
from eql_mmdet.rarity.tail import choose_tail
from eql_mmdet.reports.data_check import check_data

FILE = Path(__file__).parent / 'lvis_sample/lvis_v0.5_val_100.json.gz'


@pytest.fixture(scope='module')
def ann(tmp_path_factory):
    path = tmp_path_factory.mktemp('lvis') / 'lvis_v0.5_val_100.json'
    path.write_bytes(gzip.decompress(FILE.read_bytes()))
    return str(path)


@pytest.fixture(scope='module')
def content(ann):
    return json.loads(Path(ann).read_text())


def test_the_file_is_read_whole(ann, content):
    found = read_annotations(ann)
    assert found.count == len(content['images']) == 100
    assert len(found.categories) == 1230
    assert found.boxes.tolist() == [
        item['bbox'] for item in content['annotations']
    ]
    assert found.areas.tolist() == [
        item['area'] for item in content['annotations']
    ]
    assert found.findings == [] and not found.mask_faults
    for index in (0, 500, 976):
        assert found.load_mask(index) == (
            content['annotations'][index]['segmentation'])
    absent = found.images[0].negative
    assert sorted(found.categories[k].id for k in absent) == sorted(
        content['images'][0]['neg_category_ids'])


def test_counts_are_those_of_plain_loops(ann, content):
    images = defaultdict(set)
    for item in content['annotations']:
        images[item['category_id']].add(item['image_id'])
    objects = Counter(item['category_id'] for item in content['annotations'])
    counts = load_counts(ann)
    ids = [category['id'] for category in content['categories']]
    assert counts.image_count.tolist() == [len(images[id_]) for id_ in ids]
    assert counts.instance_count.tolist() == [objects[id_] for id_ in ids]
    assert counts.num_images == len(
        {item['image_id']
         for item in content['annotations']})
    # In this sample the file's own image_count is of the sample.
    assert counts.image_count.tolist() == [
        category['image_count'] for category in content['categories']
    ]


def test_the_tail_is_that_of_a_plain_loop(ann):
    counts = load_counts(ann)
    tail = choose_tail(counts, frequency_threshold=0.02)
    assert tail.mask.tolist() == [
        float(n / counts.num_images < 0.02) for n in counts.image_count
    ]
    assert 'have no training image' in tail.summary


@pytest.fixture(scope='module')
def dataset(ann):
    return DATASETS.build(
        dict(
            type='LVISFormatDataset',
            ann_file=ann,
            pipeline=[],
            filter_cfg=dict(filter_empty_gt=True)))


def test_repeat_factors_are_those_of_the_paper(dataset, content):
    """r_i = max over c in i of max(1, sqrt(t / f_c)), Gupta et al. 2019."""
    images = defaultdict(set)
    for item in content['annotations']:
        images[item['image_id']].add(item['category_id'])
    share = Counter(c for found in images.values() for c in found)
    shown = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    assert sorted(shown) == sorted(images)
    sampler = RepeatFactorSampler(dataset, repeat_threshold=0.05, seed=0)
    expected = [
        max(max(1, (0.05 / (share[c] / len(images)))**0.5) for c in images[i])
        for i in shown
    ]
    np.testing.assert_allclose(
        np.asarray(sampler.repeat_factors), expected, rtol=1e-6)


def test_images_have_the_names_of_2017_and_checked_categories(dataset):
    info = dataset.get_data_info(0)
    assert not Path(info['img_path']).name.startswith('COCO')
    assert len(info['verified_labels']) >= len(
        {item['bbox_label']
         for item in info['instances']})


@pytest.fixture(scope='module')
def predictions(content, tmp_path_factory):
    """Objects as they are, shifted, missed, taken for others; and noise."""
    rng = np.random.default_rng(0)
    samples = []
    labels = {c['id']: k for k, c in enumerate(content['categories'])}
    for image in content['images']:
        own = [
            item for item in content['annotations']
            if item['image_id'] == image['id']
        ]
        boxes = np.array([item['bbox'] for item in own]).reshape(-1, 4)
        boxes = np.concatenate([boxes, boxes[::2]])
        number = len(boxes)
        boxes[:, :2] += rng.normal(0, 0.1, (number, 2)) * boxes[:, 2:]
        found = np.array([labels[item['category_id']] for item in own], int)
        found = np.concatenate([found, found[::2]])
        wrong = rng.random(number) < 0.2
        found[wrong] = rng.integers(0, 1230, wrong.sum())
        boxes[:, 2:] += boxes[:, :2]
        keep = rng.random(number) < 0.8
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=dict(
                    bboxes=torch.tensor(boxes[keep]).float(),
                    scores=torch.tensor(rng.random(keep.sum())).float(),
                    labels=torch.tensor(found[keep]))))
    path = tmp_path_factory.mktemp('predictions') / 'run.json'
    return write_json(path, official_results(samples, content, 'bbox'))


def test_both_engines_agree_to_the_last_bits(ann, predictions):
    exact = evaluate_predictions(predictions, ann, engine='lvis').values
    fast = evaluate_predictions(predictions, ann).values
    assert fast == pytest.approx(exact, abs=1e-12)
    assert 0.1 < fast['bbox_AP'] < 0.9
    assert fast['bbox_APr'] != fast['bbox_APf']


def test_ground_truth_as_predictions_is_perfect(ann, content, tmp_path):
    items = [
        dict(
            image_id=item['image_id'],
            category_id=item['category_id'],
            bbox=item['bbox'],
            score=1.0) for item in content['annotations']
    ]
    path = write_json(tmp_path / 'perfect.json', items)
    values = evaluate_predictions(path, ann).values
    for item in ('AP', 'APr', 'APc', 'APf'):
        assert values[f'bbox_{item}'] == pytest.approx(1)


def test_the_check_has_no_complaint(ann):
    found = check_data(ann)
    assert found.refused == []
    assert found.facts[0] == (
        'LVIS format (LVISEvalMetric), 100 images, 1230 categories')
    assert '977 objects, 977 of them trained' in found.facts[1]
