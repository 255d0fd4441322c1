"""Differences of two runs, and how sure they are."""
import copy

import hotcoco
import numpy as np
import pytest
from lvis_data import make_dataset, make_sample, make_samples, write_json

from eql_mmdet.evaluation.detections import gather
from eql_mmdet.evaluation.engines import HotcocoEngine
from eql_mmdet.evaluation.ground_truth import ground_truth
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.evaluation.results import BBOX, merge_results
from eql_mmdet.reports.bootstrap import (average_precision, collect_matches,
                                         draw_weights)
from eql_mmdet.reports.comparison import (compare_results, difference_table,
                                          draw_against_images)


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A data set, and two runs on it."""
    dataset = make_dataset(np.random.default_rng(7), images=40, categories=6)
    path = tmp_path_factory.mktemp('runs') / 'ann.json'
    write_json(path, dataset)
    runs = [
        make_samples(np.random.default_rng(seed), dataset, most, levels=50)
        for seed, most in ((1, 8), (2, 20))
    ]
    return dataset, str(path), runs


def results_of(path, samples, metric='bbox'):
    evaluator = LVISEvalMetric(path, metric)
    evaluator.process({}, samples)
    return evaluator.index, merge_results(evaluator.results)


def evaluator_of(path, samples):
    index, results = results_of(path, samples)
    return HotcocoEngine(ground_truth(index, False)).evaluator(
        gather(results, index, BBOX), 'bbox', all_areas=False)


def matches_of(path, samples):
    index, _ = results_of(path, samples)
    return collect_matches(
        evaluator_of(path, samples),
        np.arange(len(index.sizes)) + 1,
        np.arange(len(index.rows)) + 1)


def test_whole_data_set_has_the_ap_of_the_evaluator(case):
    dataset, path, (samples, _) = case
    precision = evaluator_of(path, samples).eval['precision']
    ones = np.ones((1, len(dataset['images'])), dtype=np.uint8)
    for column, matches in enumerate(matches_of(path, samples)):
        expected = precision[:, :, column].mean()
        found, = average_precision(matches, ones)
        if expected < 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(expected, abs=1e-12)


def resample(dataset, samples, weights):
    """Write repeated images as images of their own."""
    again, predicted = dict(dataset, images=[], annotations=[]), []
    by_id = sorted(dataset['images'], key=lambda image: image['id'])
    sample_of = {sample['img_id']: sample for sample in samples}
    for image, times in zip(by_id, weights.tolist()):
        for _ in range(times):
            new = len(again['images']) + 1
            again['images'].append(dict(image, id=new))
            predicted.append(dict(sample_of[image['id']], img_id=new))
            again['annotations'] += [
                dict(a, image_id=new) for a in dataset['annotations']
                if a['image_id'] == image['id']
            ]
    for number, item in enumerate(again['annotations']):
        item['id'] = number + 1
    return again, predicted


def test_resampled_data_sets_have_the_ap_of_the_evaluator(case, tmp_path):
    dataset, path, (samples, _) = case
    weights = draw_weights(len(dataset['images']), samples=5, seed=0)
    found = [
        average_precision(matches, weights)
        for matches in matches_of(path, samples)
    ]
    for number, row in enumerate(weights):
        again, predicted = resample(dataset, samples, row)
        other = write_json(tmp_path / f'{number}.json', again)
        precision = evaluator_of(other, predicted).eval['precision']
        for column, values in enumerate(found):
            expected = precision[:, :, column].mean()
            if expected < 0:
                assert np.isnan(values[number])
            else:
                assert values[number] == pytest.approx(expected, abs=1e-12)


def test_weights_resample_with_replacement():
    weights = draw_weights(images=50, samples=200, seed=3)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == draw_weights(50, 200, seed=3)).all()
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.1)


def test_intervals_of_hotcoco_agree_with_ours(case):
    dataset, path, runs = case
    weights = draw_weights(len(dataset['images']), samples=1000, seed=0)
    first, second = (
        np.nanmean([
            average_precision(matches, weights)
            for matches in matches_of(path, samples)
        ], 0) for samples in runs)
    pair = [evaluator_of(path, samples) for samples in runs]
    theirs = hotcoco.compare(*pair, n_bootstrap=1000)['ci']['AP']
    spread = np.std(second - first)
    assert theirs['std_err'] == pytest.approx(spread, rel=0.15)
    low, high = np.percentile(second - first, (2.5, 97.5))
    assert theirs['lower'] == pytest.approx(low, abs=0.5 * spread)
    assert theirs['upper'] == pytest.approx(high, abs=0.5 * spread)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_rows_are_the_differences_of_two_evaluations(case, iou_type):
    dataset, path, runs = case
    index, first = results_of(path, runs[0], iou_type)
    _, second = results_of(path, runs[1], iou_type)
    found = compare_results((first, second), index, iou_type, samples=50)
    values = []
    for samples in runs:
        evaluator = LVISEvalMetric(path, iou_type)
        evaluator.process({}, samples)
        values.append(evaluator.evaluate(0))
    keys = dict(all='AP', rare='APr', common='APc', frequent='APf')
    for row in found.groups:
        key = f'lvis/{iou_type}_{keys[row["name"]]}'
        assert row['AP_a'] == pytest.approx(values[0][key])
        assert row['AP_b'] == pytest.approx(values[1][key])
        assert row['difference'] == row['AP_b'] - row['AP_a']
        assert row['low'] <= row['difference'] <= row['high']
    mean = np.mean([row['AP_b'] for row in found.categories])
    assert mean == pytest.approx(values[1][f'lvis/{iou_type}_AP'])
    assert all(row['low'] <= row['high'] for row in found.categories)


def test_a_run_does_not_differ_from_itself(case):
    _, path, (samples, _) = case
    index, results = results_of(path, samples)
    found = compare_results((results, results), index, 'bbox', samples=20)
    for row in found.groups + found.categories:
        assert row['difference'] == row['low'] == row['high'] == 0


def test_a_category_in_one_image_is_not_diluted_by_its_absence(case, tmp_path):
    dataset = copy.deepcopy(case[0])
    lonely = dataset['annotations'][0]
    dataset['annotations'] = [lonely]
    path = write_json(tmp_path / 'ann.json', dataset)
    image, = (i for i in dataset['images'] if i['id'] == lonely['image_id'])
    ids = [category['id'] for category in dataset['categories']]
    x, y, w, h = lonely['bbox']
    sample = make_sample(image, [[x, y, x + w, y + h]], [0.9],
                         [ids.index(lonely['category_id'])])
    index, results = results_of(path, [sample])
    found = compare_results(([], results), index, 'bbox', samples=100)
    row, = found.categories
    assert min(row['difference'], row['low'], row['high']) > 0.99


@pytest.mark.parametrize(
    'options', [dict(samples=0),
                dict(confidence=0.0),
                dict(confidence=1.0)])
def test_wrong_settings_are_refused(case, options):
    _, path, (samples, _) = case
    index, results = results_of(path, samples)
    with pytest.raises(ValueError, match='samples >= 1 and confidence'):
        compare_results((results, results), index, 'bbox', **options)


ROW = dict(
    name='cup',
    image_count=3,
    AP_a=0.1,
    AP_b=0.25,
    difference=0.15,
    low=-0.1,
    high=0.2)


def test_table_is_in_percent():
    line = difference_table([ROW]).splitlines()[3]
    assert [cell.strip() for cell in line.split('|')[1:-1]
            ] == ['cup', '10.0', '25.0', '+15.0', '-10.0 to +20.0']


def test_picture_is_written(tmp_path):
    rows = [dict(ROW, image_count=count) for count in (1, 1, 40, None)]
    path = tmp_path / 'picture.png'
    draw_against_images(str(path), rows, ('a', 'b'))
    assert path.read_bytes().startswith(b'\x89PNG')


def test_picture_needs_training_counts(tmp_path):
    with pytest.raises(ValueError, match='image_count'):
        draw_against_images(
            str(tmp_path / 'picture.png'), [dict(ROW, image_count=None)],
            ('a', 'b'))
