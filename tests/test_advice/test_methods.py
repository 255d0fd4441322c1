"""Remedies by name, and what the counts make of their settings."""
import numpy as np
import pytest

from eql_mmdet.advice.config_text import epochs_for
from eql_mmdet.advice.methods import (LOSSES, Method, loss_settings,
                                      parse_method, sampler_settings)
from eql_mmdet.advice.survey import imbalance
from eql_mmdet.annotations.category_counts import CategoryCounts


def counts(*images, total=1000):
    number = len(images)
    return CategoryCounts(
        source='train.json',
        num_images=total,
        ids=tuple(range(number)),
        names=tuple('abcdefghij'[:number]),
        groups=('c', ) * number,
        image_count=np.array(images),
        instance_count=np.array(images))


@pytest.mark.parametrize('text, method', [
    ('softmax', Method('softmax', 'plain', 'none')),
    ('rfs', Method('softmax', 'rfs', 'none')),
    ('norcal+cas', Method('softmax', 'cas', 'norcal')),
    ('eql+rfs', Method('eql', 'rfs', 'none')),
])
def test_a_name_is_read(text, method):
    assert parse_method(text) == method
    assert parse_method(str(method)) == method


@pytest.mark.parametrize('text', ['', 'EQL', 'eql+eqlv2', 'rfs+cas', 'eql+'])
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match='expected a loss'):
        parse_method(text)


@pytest.mark.parametrize('loss', LOSSES)
def test_every_loss_has_settings(loss):
    text = loss_settings(Method(loss), counts(1, 100, 500))
    settings = eval(f'dict({text})')
    assert bool(settings) is (loss != 'softmax')


def test_eql_that_protects_none_is_refused():
    with pytest.raises(ValueError, match='would protect no category'):
        loss_settings(Method('eql'), counts(100, 120, 130))


@pytest.mark.parametrize('number, drawn', [(1, 1), (3, 2), (9, 6)])
def test_fedloss_draws_fewer_than_there_are(number, drawn):
    text = loss_settings(Method('fedloss'), counts(*range(1, number + 1)))
    assert text.endswith(f'num_sampled={drawn}')


@pytest.mark.parametrize('total, threshold', [(1000, 0.03), (20, 1.0),
                                              (57000, 0.00053)])
def test_repeat_factors_begin_below_thirty_images(total, threshold):
    text = sampler_settings(Method(sampler='rfs'), counts(1, 20, total=total))
    assert eval(f'dict({text})')['repeat_threshold'] == threshold


def test_repeat_factors_that_repeat_nothing_are_refused():
    with pytest.raises(ValueError, match='at least 30 images'):
        sampler_settings(Method(sampler='rfs'), counts(30, 500))


@pytest.mark.parametrize('images, epochs', [(1, 100), (360, 100), (361, 100),
                                            (1000, 36), (3000, 12),
                                            (118000, 12)])
def test_small_sets_are_shown_more_often(images, epochs):
    assert epochs_for(images) == epochs


def test_imbalance_leaves_out_what_is_not_there():
    assert imbalance(counts(0, 5, 50)) == 10
