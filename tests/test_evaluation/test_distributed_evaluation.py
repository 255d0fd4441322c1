"""Two processes evaluate as one, with the padding of a sampler."""

import numpy as np
import pytest
from lvis_data import make_dataset, make_samples, write_json

from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.evaluation.protocol import METRICS
from eql_mmdet.evaluation.results import merge_results

# Each process takes the images a sampler of mmengine gives it.
EVALUATE = '''
from mmengine.dataset import DefaultSampler
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
metric = LVISEvalMetric(ann, metrics, outfile_prefix='two')
order = list(DefaultSampler(samples, shuffle=False))
assert len(order) == 4, order
for i in order:
    metric.process({}, [samples[i]])
result = metric.evaluate(len(samples))
'''


def test_two_processes_equal_one_bit_for_bit(tmp_path, two_processes):
    generator = np.random.default_rng(1)
    dataset = make_dataset(generator, images=7, categories=5)
    samples = make_samples(generator, dataset, most=20)
    ann = write_json(tmp_path / 'ann.json', dataset)
    found = two_processes(EVALUATE, ann=ann, samples=samples, metrics=METRICS)
    metric = LVISEvalMetric(ann, METRICS, outfile_prefix=str(tmp_path / 'one'))
    metric.process({}, samples)
    expected = metric.evaluate(len(samples))
    assert found == [expected, expected]
    for kind in ('bbox', 'segm'):
        one, two = ((tmp_path / f'{name}.{kind}.json').read_bytes()
                    for name in ('one', 'two'))
        assert one == two


def results_of(tmp_path, seed):
    generator = np.random.default_rng(1)
    dataset = make_dataset(generator, images=7, categories=5)
    ann = write_json(tmp_path / 'ann.json', dataset)
    metric = LVISEvalMetric(ann, 'segm')
    metric.process({},
                   make_samples(np.random.default_rng(seed), dataset, most=20))
    return metric.results


def test_padding_may_differ_and_the_first_prediction_counts(tmp_path):
    first, other = results_of(tmp_path, 1), results_of(tmp_path, 2)
    merged = merge_results(first + other[:1], padding=1)
    assert len(merged) == 7
    assert all(any(item is kept for kept in first) for item in merged)
    with pytest.raises(ValueError, match=r'2 such images'):
        merge_results(first + other[:2], padding=1)


def test_the_order_of_images_does_not_matter(tmp_path):
    results = results_of(tmp_path, 1)
    ids = [item.image_id for item in merge_results(results[::-1])]
    assert ids == sorted(ids)
    assert [item.image_id for item in merge_results(results)] == ids
