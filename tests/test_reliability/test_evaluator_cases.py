"""The default evaluator against the official one, on generated sets."""
import inspect
import logging
from importlib.metadata import distribution

import lvis
import numpy as np
import pytest
from lvis_data import make_dataset, make_samples, official_results, write_json
from mmengine.logging import MMLogger

from eql_mmdet.evaluation.engines import HotcocoEngine
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric

logging.getLogger('lvis').setLevel(logging.ERROR)
IOU_TYPES = ('bbox', 'segm')


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Of thousands of evaluations only the last message is wanted."""
    monkeypatch.setattr(MMLogger.get_current_instance(), 'disabled', True)


def draw(number):
    """Draw a small set, and predictions of most of its images.

    Its number is the seed of all that is drawn.
    """
    rng = np.random.default_rng(number)
    dataset = make_dataset(rng, rng.integers(1, 6), rng.integers(1, 6),
                           rng.choice([1, 3, 8]))
    # More than 300 of an image take long, so they are rare.
    most = rng.choice([2, 6, 15, 600], p=[.3, .4, .28, .02])
    samples = []
    while not has_detections(samples):
        samples = make_samples(rng, dataset, most, rng.choice([1, 4, 1000]))
    if rng.random() < 0.2:
        take_areas_away(dataset, samples)
    rng.shuffle(samples)
    fewer = [sample for sample in samples if rng.random() < 0.9]
    return dataset, fewer if has_detections(fewer) else samples


def has_detections(samples):
    return any(len(sample['pred_instances']['labels']) for sample in samples)


def take_areas_away(dataset, samples):
    for item in dataset['annotations'][::3]:
        item['area'] = 0
    for sample in samples:
        boxes = sample['pred_instances']['bboxes']
        boxes[::2, 2] = boxes[::2, 0]
        sample['pred_instances']['masks'][::2] = False


def official(path, items, iou_type):
    """Return the numbers of the package ``lvis``, by its own reader."""
    ground_truth = lvis.LVIS(path)
    evaluator = lvis.LVISEval(ground_truth,
                              lvis.LVISResults(ground_truth, items), iou_type)
    evaluator.run()
    return {
        f'lvis/{iou_type}_{name}': float(value)
        for name, value in evaluator.get_results().items()
    }


def differences(number, folder):
    """Say where the two disagree: name -> our number and theirs."""
    dataset, samples = draw(number)
    path = write_json(folder / f'{number}.json', dataset)
    metric = LVISEvalMetric(path, IOU_TYPES)
    metric.process({}, samples)
    ours, theirs = metric.evaluate(len(samples)), {}
    for iou_type in IOU_TYPES:
        items = official_results(samples, dataset, iou_type)
        theirs.update(official(path, items, iou_type))
    assert metric.engine is HotcocoEngine
    assert set(ours) == set(theirs) and len(ours) == 26
    return {
        name: (ours[name], theirs[name])
        for name in ours if ours[name] != theirs[name]
    }


@pytest.mark.parametrize(
    'numbers',
    [range(30), pytest.param(range(10_000), marks=pytest.mark.slow)],
    ids=len)
def test_all_aps_and_ars_are_those_of_the_official_package(numbers, tmp_path):
    found = {number: differences(number, tmp_path) for number in numbers}
    assert {number: wrong for number, wrong in found.items() if wrong} == {}


def kinds(number):
    """Name the hard cases that are in a set."""
    dataset, samples = draw(number)
    listed = {image['id']: image for image in dataset['images']}
    if len(samples) < len(listed):
        yield 'image without prediction'
    if any(item['area'] == 0 for item in dataset['annotations']):
        yield 'no area'
    ids = [category['id'] for category in dataset['categories']]
    for sample in samples:
        image, pred = listed[sample['img_id']], sample['pred_instances']
        there = {
            item['category_id']
            for item in dataset['annotations']
            if item['image_id'] == image['id']
        }
        found = {ids[label] for label in pred['labels'].tolist()}
        negative = set(image['neg_category_ids'])
        cases = {
            'ties': len(pred['scores'].unique()) < len(pred['scores']),
            'more than 300': len(pred['scores']) > 300,
            'no detection': not found,
            'no object': not there,
            'negative': found & negative,
            'not checked': found - there - negative,
            'not exhaustive':
            found & set(image['not_exhaustive_category_ids']),
        }
        yield from (name for name, is_there in cases.items() if is_there)


def test_every_hard_case_is_among_the_sets():
    assert len(set().union(*map(kinds, range(100)))) == 9


def test_the_reference_is_the_installed_package():
    package = distribution('lvis').locate_file('lvis/eval.py')
    assert package.samefile(inspect.getfile(lvis.LVISEval))
