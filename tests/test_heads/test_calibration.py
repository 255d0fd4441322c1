"""Calibration: against loops over the papers' fractions, and identities."""
import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.heads.calibration import (Calibration, divide_scores,
                                         read_settings, shift_logits)

NAMES = ('disc', 'bar', 'dot', 'ring')
#: Images of each category; the last one has none.
COUNTS = (6, 5, 4, 0)
K = len(NAMES)
KINDS = [
    dict(type='norcal', gamma=0.6),
    dict(type='logit_adjustment', tau=0.7),
    dict(type='fracal'),
]


def write_annotations(folder, counts=COUNTS, name='train.json'):
    """A file in which disc is in a line, bar and dot lie in the corners."""
    size = max(counts)
    images = [
        dict(id=i, file_name=f'{i}.png', height=100, width=200)
        for i in range(size)
    ]
    corners = [(10, 5), (110, 5), (10, 55), (110, 55)]
    annotations = []
    for label, number in enumerate(counts):
        for i in range(number):
            x, y = corners[i % 2 if label == 0 else i % 4]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=label + 1,
                    bbox=[x, y, 80, 40],
                    area=3200))
    categories = [dict(id=k + 1, name=n) for k, n in enumerate(NAMES)]
    path = folder / name
    path.write_text(
        json.dumps(
            dict(
                images=images, annotations=annotations,
                categories=categories)))
    return str(path)


@pytest.fixture
def source(tmp_path):
    return write_annotations(tmp_path)


def calibration_of(num_classes=K, **settings):
    return Calibration(read_settings(settings), num_classes)


def some_logits(rows=7, seed=0, channels=K + 1):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, channels, generator=generator)


#: D by hand: (two cells: 1; all four: log2 4 = 2, for 5 and 4 boxes; none: 1).
DIMENSIONS = (1, 2, 2, 1)


def plain_scores(logits, settings, counts=COUNTS, dimensions=DIMENSIONS):
    """Scores (R, K) of the papers, one RoI and category after another."""
    seen = [max(n, 1) for n in counts]
    rows = []
    for *z, background in logits.double().tolist():
        if settings['type'] == 'norcal':
            top = [math.exp(v) / n**settings['gamma'] for v, n in zip(z, seen)]
        elif settings['type'] == 'logit_adjustment':
            top = [
                math.exp(v - settings['tau'] * math.log(n / sum(seen)))
                for v, n in zip(z, seen)
            ]
        else:
            top = [
                math.exp(v - math.log10(n / sum(seen)) - math.log10(len(z)))
                for v, n in zip(z, seen)
            ]
        total = sum(top) + math.exp(background)
        row = [value / total for value in top]
        if settings['type'] == 'fracal':
            power = settings.get('dimension_power', 2)
            row = [s / d**power for s, d in zip(row, dimensions)]
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize('kind', [
    *KINDS,
    dict(type='norcal', gamma=1.5),
    dict(type='logit_adjustment', tau=2),
    dict(type='fracal', dimension_power=1)
])
def test_scores_are_those_of_the_paper(source, kind):
    logits = some_logits()
    scores = calibration_of(
        frequency_source=source, **kind)(logits).softmax(dim=1)
    torch.testing.assert_close(scores[:, :-1], plain_scores(logits, kind))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(len(logits)))


@pytest.mark.parametrize('kind', [
    dict(type='norcal', gamma=0),
    dict(type='logit_adjustment', tau=0),
])
def test_without_strength_no_bit_changes(source, kind):
    logits = some_logits()
    calibrated = calibration_of(frequency_source=source, **kind)(logits)
    assert torch.equal(calibrated, logits)


def test_norcal_of_equal_counts_has_a_known_result(tmp_path):
    """All categories lose to the background, in proportion."""
    path = write_annotations(tmp_path, counts=(9, ) * K)
    logits = some_logits()
    plain = logits.softmax(dim=1)
    found = calibration_of(
        type='norcal', gamma=0.5, frequency_source=path)(logits).softmax(1)
    foreground, background = plain[:, :-1] / 3, plain[:, -1:]
    torch.testing.assert_close(
        found[:, :-1],
        foreground / (foreground.sum(dim=1, keepdim=True) + background))


def test_logit_adjustment_divides_probabilities_by_the_prior(source):
    logits = some_logits()
    prior = torch.tensor([6, 5, 4, 1, 16]) / 16.  # background: divided by 1
    expected = logits.softmax(dim=1) / prior
    expected /= expected.sum(dim=1, keepdim=True)
    found = calibration_of(
        type='logit_adjustment', tau=1.,
        frequency_source=source)(logits).softmax(1)
    torch.testing.assert_close(found, expected)


def test_fracal_of_a_balanced_set_only_divides(tmp_path):
    path = write_annotations(tmp_path, counts=(5, ) * K)
    logits = some_logits()
    plain = logits.softmax(dim=1)[:, :-1]
    found = calibration_of(
        type='fracal', frequency_source=path)(logits).softmax(dim=1)
    torch.testing.assert_close(found[:, :-1],
                               plain / torch.tensor([1., 4., 4., 4.]))


def test_no_category_of_fracal_is_divided_by_less_than_one(source):
    divisor = calibration_of(type='fracal', frequency_source=source).divisor
    assert divisor.tolist() == [1, 4, 4, 1]


@given(st.integers(0, 9999), st.floats(0, 80))
@hypothesis_settings(deadline=None)
def test_division_survives_extreme_logits(seed, scale):
    logits = scale * some_logits(5, seed)
    divisor = torch.tensor([1., 4., 2.5, 1.])
    expected = logits.softmax(dim=1)[:, :-1] / divisor
    found = divide_scores(logits, divisor).softmax(dim=1)
    torch.testing.assert_close(found[:, :-1], expected, atol=1e-6, rtol=1e-5)


def test_division_by_one_changes_no_score():
    logits = some_logits()
    torch.testing.assert_close(
        divide_scores(logits, torch.ones(K)).softmax(1), logits.softmax(1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', KINDS)
def test_half_precision_is_computed_in_float32(source, kind, dtype):
    logits = some_logits().to(dtype)
    found = calibration_of(frequency_source=source, **kind)(logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.softmax(1)[:, :-1], plain_scores(logits, kind))


@pytest.mark.parametrize('kind', KINDS)
def test_no_rois_and_the_meta_device_wait_for_nothing(source, kind):
    calibration = calibration_of(frequency_source=source, **kind)
    assert calibration(some_logits(0)).shape == (0, K + 1)
    found = calibration.to('meta')(some_logits().to('meta'))
    assert found.device.type == 'meta' and found.shape == (7, K + 1)


@pytest.mark.parametrize('kind', KINDS)
def test_buffers_follow_the_model_and_are_not_saved(source, kind):
    calibration = calibration_of(frequency_source=source, **kind)
    assert not calibration.state_dict()
    copied = copy.deepcopy(calibration).double()
    buffers = dict(copied.named_buffers())
    assert set(buffers) == {'shift'} | ({'divisor'}
                                        if kind['type'] == 'fracal' else set())
    assert {buffer.dtype for buffer in buffers.values()} == {torch.float64}
    assert f'{kind["type"]}, ' in repr(calibration)


@pytest.mark.parametrize('shape', [(3, K), (3, K + 2), (K + 1, )])
def test_other_logits_are_refused(shape):
    with pytest.raises(ValueError, match=r'\(R, 5\).*4 categories.*got'):
        shift_logits(torch.zeros(shape), torch.zeros(K))


@pytest.mark.parametrize('kind', KINDS[:2])
def test_every_source_of_the_losses_will_do(source, tmp_path, kind):
    table = tmp_path / 'counts.csv'
    rows = [f'{k + 1},{n},r,{c},{c}' for k, (n, c) in
            enumerate(zip(NAMES, COUNTS))]  # yapf: disable
    table.write_text('# num_images: 6\n'
                     'id,name,frequency,image_count,instance_count\n' +
                     '\n'.join(rows) + '\n')
    from_table = calibration_of(frequency_source=str(table), **kind)
    from_file = calibration_of(frequency_source=source, **kind)
    assert torch.equal(from_table.shift, from_file.shift)
    packaged = calibration_of(1230, frequency_source='lvis_v0.5', **kind)
    order = packaged.shift.double().argsort(descending=True, stable=True)
    count = load_counts('lvis_v0.5').image_count[order.numpy()]
    assert (np.diff(count) >= 0).all()  # rare ones gain the most


@pytest.mark.parametrize('kind', KINDS)
def test_names_give_the_order_of_the_labels(source, kind):
    order = [2, 0, 3]
    whole = calibration_of(frequency_source=source, **kind)
    chosen = calibration_of(
        3, frequency_source=source, classes=[NAMES[k] for k in order], **kind)
    assert chosen.classes == ('dot', 'disc', 'ring')
    difference = chosen.shift - whole.shift[order]  # the sum is another
    torch.testing.assert_close(difference, difference[:1].expand(3))
    if kind['type'] == 'fracal':
        assert torch.equal(chosen.divisor, whole.divisor[order])


@pytest.mark.parametrize('settings', [
    'norcal', 3, {},
    dict(type='norcal', frequency_source='lvis_v1'),
    dict(type='logit_adjustment', gamma=1, frequency_source='lvis_v1'),
    dict(type='norcal', gamma=1),
    dict(type='platt', frequency_source='lvis_v1'),
    dict(type=['norcal'], frequency_source='lvis_v1'),
    dict(gamma=1, frequency_source='lvis_v1'),
    dict(type='norcal', gamma=1, tau=1, frequency_source='lvis_v1'),
])  # yapf: disable
def test_missing_and_unknown_settings_are_named(settings):
    with pytest.raises(ValueError, match="expected calibration.*'gamma'.*got"):
        read_settings(settings)


@pytest.mark.parametrize('gamma',
                         [-0.1, math.inf, math.nan, '0.6', None, True])
def test_a_strength_out_of_range_is_named(gamma):
    with pytest.raises(ValueError, match='gamma.*"norcal".*from 0 on.*got'):
        read_settings(
            dict(type='norcal', gamma=gamma, frequency_source='lvis_v1'))


@pytest.mark.parametrize('kind', KINDS)
def test_without_the_training_set_there_is_no_calibration(kind):
    with pytest.raises(
            ValueError, match='no frequency_source="no.json".*=None to test'):
        read_settings(dict(kind, frequency_source='no.json'))
    with pytest.raises(ValueError, match='no training set; name.*or set'):
        read_settings(dict(kind, frequency_source=None))


@pytest.mark.parametrize('table', ['lvis_v1', 'counts.csv'])
def test_fracal_wants_boxes(table):
    with pytest.raises(ValueError, match=f'boxes.*json.*got "{table}"'):
        read_settings(dict(type='fracal', frequency_source=table))


@pytest.mark.parametrize('kind', KINDS)
def test_another_number_or_name_of_categories_is_refused(source, kind):
    with pytest.raises(ValueError, match='num_classes=5.*4 categories.*classes'
                       ):  # yapf: disable
        calibration_of(5, frequency_source=source, **kind)
    with pytest.raises(ValueError, match='"cube" is not among'):
        calibration_of(
            2, frequency_source=source, classes=('disc', 'cube'), **kind)


def test_categories_without_images_are_told(source, monkeypatch):
    told = []
    monkeypatch.setattr('eql_mmdet.heads.calibration.warn_each', told.extend)
    calibration_of(type='norcal', gamma=1, frequency_source=source)
    assert any('1 of 4 categories have no image' in text and 'ring' in text
               for text in told)
