"""Saved predictions give the numbers of the run that saved them."""
import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lvis_data import make_dataset, make_samples, official_results, write_json
from mmdet.evaluation import DumpDetResults

from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.evaluation.predictions import load_json, read_predictions
from eql_mmdet.evaluation.results import compact
from eql_mmdet.host.safe_pickle import load_samples


@pytest.fixture
def case(tmp_path):
    generator = np.random.default_rng(3)
    dataset = make_dataset(generator, images=6, categories=5)
    samples = make_samples(generator, dataset, most=20)
    return dataset, write_json(tmp_path / 'ann.json', dataset), samples


def dump(tmp_path, samples):
    path = str(tmp_path / 'predictions.pkl')
    metric = DumpDetResults(out_file_path=path)
    metric.process({}, copy.deepcopy(samples))
    metric.evaluate(len(samples))
    return path


def evaluate(ann, raw, metric):
    evaluator = LVISEvalMetric(ann, metric)
    evaluator.results = [
        compact(item, evaluator.index, evaluator.needs) for item in raw
    ]
    return evaluator.evaluate(0)


def expected(ann, samples, metric):
    evaluator = LVISEvalMetric(ann, metric)
    evaluator.process({}, samples)
    return evaluator.evaluate(len(samples))


def test_pickle_of_the_host_gives_the_same_numbers(case, tmp_path):
    dataset, ann, samples = case
    samples[0]['scale_factor'] = np.float64(1.5)
    samples[1]['pred_instances']['scores'] = samples[1]['pred_instances'][
        'scores'].bfloat16()
    raw = read_predictions(dump(tmp_path, samples), load_index(ann))
    metric = ['bbox', 'segm', 'lvis_fixed']
    assert evaluate(ann, raw, metric) == expected(ann, samples, metric)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_json_gives_the_same_numbers(case, tmp_path, iou_type):
    dataset, ann, samples = case
    items = official_results(samples, dataset, iou_type)
    for item in items:
        if iou_type == 'segm':
            counts = item['segmentation']['counts']
            item['segmentation']['counts'] = counts.decode()
    # Detections of an image need not stand together.
    path = write_json(tmp_path / 'dets.json', items[::2] + items[1::2])
    raw = read_predictions(path, load_index(ann))
    order = [s['img_id'] for s in samples]
    assert {item.image_id for item in raw} <= set(order)
    for sample in samples:
        pred = sample['pred_instances']
        number = sum(
            len(s['pred_instances']['labels'])
            for s in samples[:order.index(sample['img_id'])])
        rows = np.arange(number, number + len(pred['labels']))
        again = np.argsort(rows % 2, kind='stable')
        for name in pred:
            pred[name] = pred[name][torch.from_numpy(again)]
    assert evaluate(ann, raw, iou_type) == expected(ann, samples, iou_type)


def test_masks_without_boxes_have_the_boxes_around_them(case, tmp_path):
    dataset, ann, samples = case
    items = official_results(samples, dataset, 'segm')
    counts = items[0]['segmentation']['counts'].decode()
    items[0]['segmentation']['counts'] = counts
    path = write_json(tmp_path / 'dets.json', items[:1])
    raw, = read_predictions(path, load_index(ann))
    mask = next(s['pred_instances']['masks'][0] for s in samples
                if len(s['pred_instances']['masks']))
    rows, columns = np.nonzero(mask.numpy())
    corner = columns.min(), rows.min()
    assert raw.boxes[0].tolist() == [
        *corner, *np.array([columns.max(), rows.max()]) - corner + 1
    ]


def test_an_empty_list_of_detections_is_read(case, tmp_path):
    path = write_json(tmp_path / 'dets.json', [])
    assert read_predictions(path, load_index(case[1])) == []


class Runs:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path, )


class Storage:
    """A tensor's storage that hides another pickle."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content, )


def test_pickles_do_not_run_code(tmp_path):
    trap, path = tmp_path / 'ran', tmp_path / 'evil.pkl'
    sample = dict(img_id=1, pred_instances=Runs(trap))
    path.write_bytes(pickle.dumps([sample]))
    with pytest.raises(ValueError, match='evil.pkl.*pathlib.Path'):
        load_samples(str(path))
    inner = tmp_path / 'inner.pt'
    torch.save(Runs(trap), inner, _use_new_zipfile_serialization=False)
    hidden = Storage(inner.read_bytes())
    path.write_bytes(pickle.dumps([dict(img_id=1, pred_instances=hidden)]))
    with pytest.raises(ValueError, match='evil.pkl'):
        load_samples(str(path))
    assert not trap.exists()
    pickle.loads(path.read_bytes())  # the trap works
    assert trap.exists()


@pytest.mark.parametrize('share', [0, 0.3, 0.99])
def test_truncated_pickles_are_refused(case, tmp_path, share):
    path = Path(dump(tmp_path, case[2]))
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(ValueError, match='predictions.pkl.*write it again'):
        load_samples(str(path))


@pytest.mark.parametrize(
    'content', [
        pickle.dumps({}),
        pickle.dumps([1]),
        pickle.dumps([dict(scores=1)]),
        b'\x80\x02' + 9000 * b']' + 8999 * b'a' + b'.',
    ],
    ids=['dict', 'number', 'no img_id', 'nested'])
def test_other_pickles_are_refused(tmp_path, content):
    path = tmp_path / 'other.pkl'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='img_id.*other.pkl'):
        load_samples(str(path))


ITEM = dict(image_id=1, category_id=1, score=0.5, bbox=[0, 0, 1, 1])


@pytest.mark.parametrize('text, message', [
    ('', 'not a whole'),
    pytest.param(100_000 * '[', 'not a whole', id='nested'),
    (json.dumps([ITEM])[:-3], 'not a whole'),
    ('{}', 'list of detections'),
    (json.dumps([ITEM, 3]), 'detection 1 .*is 3'),
    (json.dumps([ITEM, dict(ITEM, bbox=[1])]), 'detection 1 '),
    (json.dumps([ITEM, dict(image_id=1, category_id=1, bbox=[0] * 4)
                 ]), 'detection 1 .*"score"'),
    (json.dumps([ITEM, dict(ITEM, segmentation={})]), 'like all others'),
])
def test_other_json_files_are_refused(tmp_path, text, message):
    path = tmp_path / 'dets.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_json(str(path))


@pytest.mark.parametrize('item', [
    dict(image_id='1'),
    dict(image_id=None),
    dict(image_id=[1]),
    dict(category_id='1'),
    dict(category_id=True),
    dict(category_id={}),
    dict(score='0.9'),
    dict(score=None),
    dict(score=True),
    dict(score=10**400),
    dict(bbox=None),
    dict(bbox=[None] * 4),
    dict(bbox=['1', '2', '3', '4']),
    dict(bbox=[10**400, 1, 1, 1]),
])
def test_what_is_no_number_is_refused_in_a_sentence(tmp_path, item):
    """Text of digits was a score, and other types an error of Python."""
    path = write_json(tmp_path / 'dets.json', [ITEM, dict(ITEM, **item)])
    with pytest.raises(ValueError, match='detection 1 of .*must have the num'):
        load_json(path)


@pytest.mark.parametrize('item, message', [
    (dict(image_id=99), 'image 99 .*ann_file'),
    (dict(category_id=99), 'category 99 of image .*ann_file'),
    (dict(score=float('nan')), 'image .*finite'),
    (dict(bbox=[0, 0, float('inf'), 1]), 'image .*finite'),
    (dict(bbox=[0, 0, -1, 1]), 'image .*x2 >= x1'),
])
def test_detections_of_another_file_are_refused(case, tmp_path, item, message):
    dataset, ann, _ = case
    known = dict(
        ITEM,
        image_id=dataset['images'][0]['id'],
        category_id=dataset['categories'][0]['id'])
    path = write_json(tmp_path / 'dets.json', [dict(known, **item)])
    with pytest.raises(ValueError, match=message):
        evaluate(ann, read_predictions(path, load_index(ann)), 'bbox')


def test_other_endings_are_refused(case):
    with pytest.raises(ValueError, match='.pkl, .pickle or .json.*x.csv'):
        read_predictions('x.csv', load_index(case[1]))
