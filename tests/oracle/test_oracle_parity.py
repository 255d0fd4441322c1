"""The tool that compares a device says what differs there."""
import re
from types import SimpleNamespace

import numpy as np
import oracle_models
import oracle_rows
import oracle_runs
import pytest
import torch
from mmengine.logging import MMLogger
from oracle_compare import Row

#: Of an EQL model; the rest of a test run is beside them.
WHAT = ('input: shape', 'input: checksum', 'features res2', 'features res5',
        'features p2', 'features p6', 'RPN: logits', 'RPN: deltas',
        'proposals of 1000', 'proposals: boxes', 'proposals: scores',
        'logits: whole rows', 'deltas: sums of rows', 'detections of 300',
        'detections: boxes', 'detections: scores', 'masks of the best 20',
        'masks: pixels')
TRAINED = ('RPN: anchors', 'RPN: labels of anchors', 'RPN: loss_rpn_cls',
           'RPN: loss_rpn_bbox', 'objects: boxes', 'RoIs: labels',
           'RoIs: mask targets', 'RoIs: logits', 'RoIs: loss_cls',
           'RoIs: loss_bbox', 'RoIs: loss_mask',
           'loss_cls: norms of gradients', 'loss_bbox: gradients',
           'loss_mask: gradients', 'loss_cls: gradient of every bias')
SOFTMAX = ('detections of 300', 'masks: pixels', 'logits: whole rows')


@pytest.fixture
def logger():
    """The host's logger, of which there is one for all tests."""
    return MMLogger.get_current_instance()


@pytest.fixture
def check(load_tool, logger, capsys):
    """Run the tool; its status, what it printed, and the rows by name."""
    tool = load_tool('check_parity')

    def run(*options):
        status = tool.main(['--device', 'cpu', *options])
        printed = capsys.readouterr().out
        rows = re.findall(r'^\| (\S.*?) +\|.*\| (holds|FAILS) +\|$', printed,
                          re.M)
        return status, printed, dict(rows)

    run.tool = tool
    return run


@pytest.fixture
def give(monkeypatch):
    """Let the tool have these rows."""
    return lambda *rows: monkeypatch.setattr(oracle_rows, 'list_rows', lambda
                                             device, factor: iter(rows))


@pytest.mark.slow
def test_cpu_gives_what_the_authors_code_gave(check):
    status, printed, rows = check()
    assert status == 0, printed
    assert set(rows.values()) == {'holds'} and len(rows) == 98
    assert set(rows) >= {
        *(f'eql 320, {what}' for what in WHAT), *(f'eql training, {what}'
                                                  for what in TRAINED),
        *(f'softmax 320, {what}' for what in SOFTMAX),
        'eql 313, detections of 300', 'softmax training, RoIs: loss_cls'
    }
    assert printed.endswith(
        "all 98 hold: cpu gives what the authors' code gave\n")


@pytest.fixture
def lend(models, monkeypatch):
    """Let the comparisons have a model that is built, and train it."""
    model = models('eql')
    monkeypatch.setattr(oracle_rows, 'SIDES', {'eql': ()})
    monkeypatch.setattr(oracle_rows, 'make_weights', lambda name: {})
    monkeypatch.setattr(oracle_models, 'build_model',
                        lambda cfg, arrays: model)
    return model


def test_part_of_it_gives_what_the_authors_code_gave(check, lend):
    status, printed, rows = check()
    assert status == 0, printed
    assert 'device: cpu\nversions: torch ' in printed
    assert 'RoIAlign and NMS: ' in printed and 'mmengine' not in printed
    assert set(rows) >= {f'eql training, {what}' for what in TRAINED}
    assert set(rows.values()) == {'holds'}


@pytest.mark.slow
def test_disturbed_weight_is_seen_in_what_it_changes(check, lend):
    """By a thousandth of one layer's weights."""
    weight = lend.roi_head.mask_head.conv_logits.weight
    before = weight.detach().clone()
    weight.data *= 1.001
    status, printed, rows = check()
    weight.data.copy_(before)
    wrong = {name for name, word in rows.items() if word == 'FAILS'}
    assert status == 1
    assert {
        'eql training, RoIs: loss_mask',
        'eql training, loss_mask: norms of gradients'
    } <= wrong
    assert rows['eql training, RoIs: loss_bbox'] == 'holds'
    assert printed.splitlines()[-1].startswith(
        f'{len(wrong)} of {len(rows)} fail: ')
    assert all(name in printed.splitlines()[-1] for name in wrong)


def wrong_rows(rows):
    return [row.what for row in rows if not row.holds]


def test_another_rule_for_anchors_is_seen(models, see, monkeypatch):
    """The base of MMDetection leaves small objects without an anchor."""
    model, seen = models('eql'), see(320, training=True)
    monkeypatch.setattr(model.rpn_head.assigner, 'min_pos_iou', 0.3)
    assert wrong_rows(oracle_rows.rpn_rows(model, seen)) == [
        'RPN: labels of anchors', 'RPN: loss_rpn_cls', 'RPN: loss_rpn_bbox'
    ]


def test_threshold_of_another_loss_is_seen(models, see, monkeypatch):
    """One category more is protected."""
    model, seen = models('eql'), see(320, training=True)
    mask = model.roi_head.bbox_head.loss_cls.tail_mask
    changed = mask.clone()
    changed[(mask == 0).nonzero()[0]] = 1
    monkeypatch.setitem(model.roi_head.bbox_head.loss_cls._buffers,
                        'tail_mask', changed)
    wrong = wrong_rows(oracle_rows.training_rows('eql', model, seen))
    assert 'RoIs: loss_cls' in wrong and 'RoIs: loss_bbox' not in wrong
    assert 'loss_cls: gradient of every bias' in wrong


@pytest.mark.slow
def test_channels_of_the_softmax_model_are_no_eql_model(models, see):
    wrong = wrong_rows(
        oracle_rows.training_rows('eql', models('softmax'),
                                  see(320, training=True)))
    assert {
        'RoIs: logits', 'RoIs: loss_cls', 'loss_cls: norms of gradients',
        'loss_cls: gradient of every bias'
    } <= set(wrong)


@pytest.mark.parametrize('first', [0, pytest.param(4, marks=pytest.mark.slow)])
def test_device_that_computes_nan_fails(models, see, first):
    """From the first or the last level on; what is before it holds."""
    seen = SimpleNamespace(**vars(see(320)))
    seen.levels = [
        level * (np.nan if i >= first else 1)
        for i, level in enumerate(seen.levels)
    ]
    wrong = wrong_rows(
        oracle_rows.inference_rows('eql', 320, models('eql'), seen, 10))
    expected = [f'features p{i + 2}' for i in range(first, 5)]
    expected += ['RPN: logits', 'RPN: deltas']
    if first == 0:
        expected += WHAT[WHAT.index('proposals of 1000'):]
    assert set(wrong) >= set(expected)
    assert not {'input: checksum', 'features res2'} & set(wrong)


@pytest.mark.parametrize('seen', [np.nan, np.inf, 3.])
def test_verdict_names_what_fails(check, give, seen):
    give(
        Row('this', 'value', 1e-7, 1e-6), Row('that', 'px', seen, 2.),
        Row('these', 'different', 0., 0))
    status, printed, rows = check()
    assert status == 1
    assert rows == dict(this='holds', that='FAILS', these='holds')
    assert printed.endswith('\n1 of 3 fail: that\n')


@pytest.mark.parametrize('factor', [1, 10])
def test_tolerances_of_values_are_widened_alone(lend, monkeypatch, factor):
    units = ('value', 'px', 'pixels', 'relative', 'of largest', 'different',
             'unpaired')
    monkeypatch.setattr(
        oracle_rows, 'model_rows', lambda *args:
        (('model', Row(unit, unit, 0., 2.)) for unit in units))
    rows = list(oracle_rows.list_rows(torch.device('cpu'), factor))
    assert [row.allowed for row in rows] == [2 * factor] * 5 + [2] * 2
    assert rows[0].what == 'model, value'


def test_float32_is_whole_while_it_is_compared(check, monkeypatch):
    places = [SimpleNamespace(allow_tf32=True) for _ in range(2)]
    monkeypatch.setattr(torch.backends.cuda, 'matmul', places[0])
    monkeypatch.setattr(torch.backends, 'cudnn', places[1])

    def rows(device, factor):
        yield Row('TF32', 'different',
                  float(sum(place.allow_tf32 for place in places)), 0)

    monkeypatch.setattr(oracle_rows, 'list_rows', rows)
    assert check()[0] == 0
    assert all(place.allow_tf32 for place in places)


@pytest.mark.parametrize('device', ['cuda', 'foo', 'meta', 'cpu:x'])
def test_wrong_device_is_refused_in_one_line(check, device):
    """The tests hide every GPU."""
    with pytest.raises(SystemExit) as error:
        check('--device', device)
    text = str(error.value)
    assert text.startswith('check_parity: --device must be one that torch can '
                           f'use here, such as cpu, but got {device}: ')
    assert '\n' not in text


def test_without_a_clone_it_is_refused_in_one_line(check, monkeypatch,
                                                   tmp_path):
    monkeypatch.setattr(check.tool, 'ORACLE', tmp_path / 'tests/oracle')
    with pytest.raises(SystemExit) as error:
        check()
    assert str(error.value) == (
        'check_parity: tests/oracle is missing beside tools: the recorded '
        'outputs come with a clone of the repository, not with the package')


def test_samplers_of_the_model_stay_what_they_were(models, see, records):
    model, seen = models('eql'), see(320, training=True)
    before = model.rpn_head.sampler, model.roi_head.bbox_sampler
    oracle_runs.rpn_losses(model, seen)
    oracle_runs.train(model, seen, records('train_eql')['proposals'])
    assert (model.rpn_head.sampler, model.roi_head.bbox_sampler) == before
