"""The tail is chosen in exactly one way, and says how."""
import math

import numpy as np
import pytest

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.rarity.tail import choose_tail

EXPONENTIAL = dict(type='exponential', a=400, n=2)
GOMPERTZ = dict(type='gompertz', a=1, b=80, c=3000)


@pytest.fixture(scope='module')
def lvis():
    return load_counts('lvis_v0.5')


@pytest.mark.parametrize('decay, formula', [
    (EXPONENTIAL, lambda f: max(0., 1 - (400 * f)**2)),
    (GOMPERTZ, lambda f: 1 - math.exp(-80 * math.exp(-3000 * f))),
])
@pytest.mark.parametrize('num_images', [None, 57263])
def test_decay_equals_the_formula_on_the_counts(lvis, decay, formula,
                                                num_images):
    tail = choose_tail(lvis, decay=decay, num_images=num_images)
    total = num_images or 56740
    expected = [formula(n / total) for n in lvis.image_count]
    np.testing.assert_allclose(tail.mask, expected, atol=1e-5)
    assert tail.threshold is None
    ratio = 100 * (expected * lvis.image_count).sum() / lvis.image_count.sum()
    assert f'tail ratio {ratio:.2f} %' in tail.summary
    assert f'type={decay["type"]}, a={decay["a"]}' in tail.summary


def test_threshold_and_its_tail_ratio_choose_the_same(lvis):
    by_threshold = choose_tail(lvis, frequency_threshold=1.77e-3)
    by_ratio = choose_tail(lvis, target_ratio=0.091)
    assert by_threshold.mask.tolist() == by_ratio.mask.tolist()
    assert by_threshold.mask.sum() == 915
    assert by_threshold.threshold == 1.77e-3
    assert 'protects 915 of 1230' in by_ratio.summary


@pytest.mark.parametrize('settings', [
    dict(),
    dict(frequency_threshold=0., target_ratio=0.1),
    dict(frequency_threshold=1e-3, decay=EXPONENTIAL),
    dict(target_ratio=0.1, decay=GOMPERTZ),
])
def test_none_or_several_ways_are_refused(lvis, settings):
    with pytest.raises(ValueError, match='exactly one .* switched off'):
        choose_tail(lvis, **settings)


@pytest.mark.parametrize('decay', [
    dict(),
    dict(a=400, n=2),
    dict(type='linear', a=1),
    dict(type='exponential', a=400),
    dict(type='exponential', a=400, n=2, b=1),
    dict(type='gompertz', a=400, n=2),
    'gompertz',
])
def test_unknown_decay_is_named_beside_the_known(lvis, decay):
    with pytest.raises(ValueError, match=r'"type".*\'gompertz\'') as error:
        choose_tail(lvis, decay=decay)
    assert f'got {decay!r}' in str(error.value)
