"""A training step on fixed proposals gives the authors' losses and gradients.

All 64 proposals are kept, and no object is added to them, so that nothing is
drawn. Losses and gradients are held to those of a float64 run.
"""
import functools

import numpy as np
import oracle_inference_rows
import oracle_runs
import oracle_training_rows as rows
import pytest
from oracle_compare import assert_rows

CASES = [('eql', loss) for loss in rows.LOSSES] + [('softmax', 'loss_cls')]


@pytest.fixture(scope='module')
def step(records, models, see):
    """Compute the losses of a model, and remember what they were given."""
    return functools.lru_cache(None)(lambda name: oracle_runs.train(
        models(name), see(320, training=True),
        records('train_eql')['proposals']))


@pytest.fixture(scope='module')
def gradients(step):
    """Differentiate a loss; gradients by the authors' names."""
    return functools.lru_cache(None)(
        lambda name, loss: oracle_runs.differentiate(
            step(name), rows.LOSSES[loss]))


def test_objects_are_equal_after_resizing(records, see):
    seen = see(320, training=True)
    assert_rows(rows.object_rows(seen, records('train_eql')))
    assert_rows(
        oracle_inference_rows.input_rows(seen.tensor,
                                         records('infer_eql_320')))


def test_proposals_get_the_same_labels_and_targets(records, step):
    """Polygons are drawn alike inside the proposals, too."""
    recorded = records('train_eql')
    assert 0.1 < np.unpackbits(recorded['mask_targets28']).mean() < 0.9
    assert_rows(rows.target_rows(step('eql'), recorded))


@pytest.mark.parametrize('name, columns', [('eql', 1230), ('softmax', 1231)])
def test_outputs_in_training_are_equal(records, step, name, columns):
    assert step(name).cls[0].shape == (64, columns)
    assert_rows(
        rows.output_rows(
            step(name), records('train_eql'), records(f'train_{name}')))


@pytest.mark.parametrize('name, loss', CASES)
def test_loss_is_equal(records, step, name, loss):
    assert_rows([rows.loss_row(step(name), records(f'train_{name}'), loss)])


@pytest.mark.parametrize('name, loss', CASES)
def test_gradients_are_equal(records, gradients, name, loss):
    recorded, found = records(f'train_{name}'), gradients(name, loss)
    names = records('train_eql')['param_names'].tolist()
    assert set(names) == set(found)
    assert sum(f'grad_idx_{loss}_{n}' in recorded for n in names) >= 4
    assert_rows(rows.gradient_rows(found, names, recorded, loss))


@pytest.mark.parametrize('name', ['eql', 'softmax'])
def test_every_category_is_pushed_alike(records, gradients, name):
    assert_rows(
        [rows.bias_row(gradients(name, 'loss_cls'), records(f'train_{name}'))])
