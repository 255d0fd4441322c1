"""The numbers of the page about a run."""
import json

import numpy as np
import pytest
from lvis_data import make_dataset, make_sample, make_samples, write_json

from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.evaluation.curves import Curves
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.evaluation.results import merge_results
from eql_mmdet.reports.measures import (Resampling, diagnose, evaluate,
                                        group_rows)


def results_of(path, samples, metric='bbox'):
    evaluator = LVISEvalMetric(path, metric)
    evaluator.process({}, samples)
    return evaluator, merge_results(evaluator.results)


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    dataset = make_dataset(np.random.default_rng(7), images=40, categories=6)
    path = tmp_path_factory.mktemp('run') / 'ann.json'
    samples = make_samples(np.random.default_rng(1), dataset, 12, levels=50)
    return write_json(path, dataset), samples


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_groups_and_sizes_are_those_of_the_metric(case, iou_type):
    metric, results = results_of(*case, iou_type)
    found = evaluate(results, metric.index, iou_type, Resampling(20))
    expected = {
        key.partition('_')[2]: value
        for key, value in metric.evaluate(40).items()
    }
    everything, *groups = found.groups
    for key, name in (('AP', 'AP'), ('AP50', 'AP50'), ('AP75', 'AP75'),
                      ('AR', 'AR@300')):
        assert everything[key] == pytest.approx(expected[name])
    for row, key in zip(groups, ('APr', 'APc', 'APf')):
        if row['AP'] is None:
            assert expected[key] == -1 and row['low'] is None
        else:
            assert row['AP'] == pytest.approx(expected[key])
            assert row['low'] <= row['high']
    assert found.by_size == {key: expected[key] for key in found.by_size}
    assert sum(row['categories'] for row in groups) == 6


def test_intervals_hold_the_value_and_are_repeatable(case):
    metric, results = results_of(*case)
    found = evaluate(results, metric.index, 'bbox', Resampling(200, seed=3))
    for row in found.groups + found.categories:
        if row['AP'] is not None:
            assert 0 <= row['low'] <= row['AP'] <= row['high'] <= 1
    assert found.groups[0]['low'] < found.groups[0]['high']
    again = evaluate(results, metric.index, 'bbox', Resampling(200, seed=3))
    assert again.groups == found.groups


def test_intervals_lie_around_the_value_where_resampling_is_biased():
    curves = Curves(np.full((10, 101, 2, 1), 0.3), np.full((10, 2, 1), 0.4))
    drawn = np.random.default_rng(0).uniform(0.5, 0.7, (2, 1000))
    everything, rare, common, frequent = group_rows(curves, ['r', 'r'], drawn)
    low, high = np.percentile(drawn.mean(axis=0), (2.5, 97.5))
    for row in (everything, rare):
        assert row['AP'] == pytest.approx(0.3)
        assert row['high'] - row['low'] == pytest.approx(high - low)
        assert row['high'] + row['low'] == pytest.approx(0.6, abs=0.01)
    assert common['AP'] is frequent['low'] is None


def test_there_must_be_samples(case):
    metric, results = results_of(*case)
    with pytest.raises(ValueError, match='at least 1 resampled .* got 0'):
        evaluate(results, metric.index, 'bbox', Resampling(0))


def hand_made(tmp_path, not_exhaustive):
    """An object of cup, taken for bowl; plate is not checked."""
    image = dict(
        id=40,
        height=100,
        width=100,
        file_name='40.jpg',
        neg_category_ids=[7],
        not_exhaustive_category_ids=not_exhaustive)
    dataset = dict(
        images=[image],
        categories=[
            dict(id=k, name=name, frequency='f')
            for k, name in zip((5, 7, 8), ('cup', 'bowl', 'plate'))
        ],
        annotations=[
            dict(
                id=1,
                image_id=40,
                category_id=5,
                bbox=[10, 10, 20, 20],
                area=400,
                segmentation=[]),
            dict(
                id=2,
                image_id=40,
                category_id=5,
                bbox=[70, 70, 20, 20],
                area=400,
                segmentation=[])
        ])
    boxes = [[10, 10, 30, 31], [10, 10, 30, 30], [60, 10, 90, 30],
             [70, 70, 90, 90]]
    sample = make_sample(image, boxes, [0.9, 0.8, 0.7, 0.2], [1, 2, 0, 0])
    index = load_index(write_json(tmp_path / 'ann.json', dataset))
    _, results = results_of(index.path, [sample])
    found = evaluate(results, index, 'bbox', Resampling(5))
    return diagnose(found, index, 'bbox', score_thr=0.3)


def test_only_checked_categories_are_confusions(tmp_path):
    found = hand_made(tmp_path, not_exhaustive=[])
    assert [pair[:3] for pair in found.confusions.pairs] == [(0, 1, 1)]
    assert found.confusions.missed[0] == 0.5  # the other is below 0.3
    row, = found.images
    assert (row['image_id'], row['tp'], row['fp'], row['fn']) == (40, 0, 2, 2)
    counts = found.errors['counts']
    assert (counts['Cls'], counts['Bkg'], counts['Miss']) == (1, 1, 0)


def test_what_is_not_exhaustively_annotated_is_not_false(tmp_path):
    found = hand_made(tmp_path, not_exhaustive=[5])
    row, = found.images
    assert (row['fp'], row['fn']) == (1, 2)
    assert found.errors['counts']['Bkg'] == 0
    assert found.calibration['num_detections'] == 2


def test_an_ignored_detection_is_no_confusion(tmp_path):
    """A bowl over a cup, where not every bowl is annotated."""
    dataset = dict(
        images=[
            dict(
                id=1,
                height=100,
                width=100,
                file_name='1.jpg',
                neg_category_ids=[],
                not_exhaustive_category_ids=[2])
        ],
        categories=[
            dict(id=k, name=name, frequency='f')
            for k, name in ((1, 'cup'), (2, 'bowl'))
        ],
        annotations=[
            dict(
                id=k,
                image_id=1,
                category_id=k,
                bbox=[40 * k, 10, 20, 20],
                area=400,
                segmentation=[]) for k in (1, 2)
        ])
    path = write_json(tmp_path / 'ann.json', dataset)
    sample = make_sample(dataset['images'][0], [[40, 10, 60, 30]], [0.9], [1])
    metric, results = results_of(path, [sample])
    found = evaluate(results, metric.index, 'bbox', Resampling(5))
    assert diagnose(found, metric.index, 'bbox', 0.3).confusions.pairs == []


def test_no_detection_is_no_error(case):
    path, _ = case
    index = load_index(path)
    found = evaluate([], index, 'bbox', Resampling(5))
    diagnosis = diagnose(found, index, 'bbox', 0.3)
    assert found.groups[0]['AP'] == 0 and diagnosis.confusions.pairs == []
    objects = len(json.loads(open(path).read())['annotations'])
    assert sum(row['fn'] for row in diagnosis.images) == objects
