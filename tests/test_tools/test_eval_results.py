"""tools/eval_results.py: the numbers of the run that saved predictions."""
import copy
import csv
import json

import numpy as np
import pytest
from lvis_data import make_dataset, make_samples, official_results, write_json
from mmdet.evaluation import DumpDetResults

from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric


@pytest.fixture
def case(tmp_path):
    """Annotations, predictions as pickle and json, and their values."""
    generator = np.random.default_rng(3)
    dataset = make_dataset(generator, images=6, categories=5)
    samples = make_samples(generator, dataset, most=20)
    ann = write_json(tmp_path / 'ann.json', dataset)
    dump = DumpDetResults(out_file_path=str(tmp_path / 'run.pkl'))
    dump.process({}, copy.deepcopy(samples))
    dump.evaluate(len(samples))
    write_json(tmp_path / 'run.json', official_results(samples, dataset,
                                                       'bbox'))
    metric = LVISEvalMetric(ann, ['bbox', 'segm', 'proposal', 'lvis_fixed'])
    metric.process({}, samples)
    values = metric.evaluate(len(samples))
    return ann, {name.split('/')[1]: value for name, value in values.items()}


@pytest.fixture
def run(load_tool, tmp_path):

    def run(name, *args):
        load_tool('eval_results').main([str(tmp_path / name), *args])

    return run


@pytest.mark.parametrize('engine', ['hotcoco', 'lvis'])
def test_pickle_gives_the_numbers_of_the_run(case, run, tmp_path, capsys,
                                             engine):
    ann, expected = case
    out, rows = tmp_path / 'new' / 'out.json', tmp_path / 'new' / 'rows.csv'
    run('run.pkl', ann, '--metric', 'bbox', 'segm', 'proposal', 'lvis_fixed',
        '--engine', engine, '--out', str(out), '--per-category', str(rows))
    assert json.loads(out.read_text()) == expected
    with open(rows) as file:
        assert len(list(csv.DictReader(file))) == 5
    shown = capsys.readouterr().out
    assert f'{100 * expected["segm_AP"]:.2f}' in shown
    assert 'best by segm_AP' in shown


def test_labels_count_as_in_the_training_file(case, run, tmp_path):
    ann, expected = case
    content = json.loads((tmp_path / 'ann.json').read_text())
    content['categories'].reverse()
    other = write_json(tmp_path / 'reversed.json', content)
    out = tmp_path / 'out.json'
    run('run.pkl', other, '--metric', 'bbox', '--classes', ann, '--out',
        str(out))
    assert json.loads(out.read_text())['bbox_AP'] == expected['bbox_AP']
    out.unlink()
    run('run.pkl', other, '--metric', 'bbox', '--out', str(out))
    assert json.loads(out.read_text())['bbox_AP'] != expected['bbox_AP']


@pytest.mark.parametrize('name, metrics', [('run.pkl', {'bbox', 'segm'}),
                                           ('run.json', {'bbox'})])
def test_metrics_follow_what_the_file_holds(case, run, tmp_path, name,
                                            metrics):
    ann, expected = case
    out = tmp_path / 'out.json'
    run(name, ann, '--out', str(out))
    assert json.loads(out.read_text()) == {
        key: value
        for key, value in expected.items() if key.split('_')[0] in metrics
    }


def test_proposals_alone_are_printed_without_categories(case, run, capsys):
    ann, expected = case
    run('run.json', ann, '--metric', 'proposal', '--proposal-nums', '100')
    shown = capsys.readouterr().out
    assert f'{100 * expected["AR@100"]:.2f}' in shown
    assert 'best by' not in shown
    with pytest.raises(SystemExit, match='--per-category needs'):
        run('run.json', ann, '--metric', 'proposal', '--per-category', 'x')


@pytest.mark.parametrize('option', ['--out', '--per-category'])
def test_files_are_not_overwritten(case, run, tmp_path, option):
    with pytest.raises(SystemExit, match='ann.json'):
        run('run.pkl', case[0], option, case[0])


def test_masks_that_are_not_there_are_missed(case, run):
    with pytest.raises(SystemExit, match='needs masks, but image'):
        run('run.json', case[0], '--metric', 'segm')


def test_truncated_predictions_are_refused(case, run, tmp_path):
    path = tmp_path / 'run.pkl'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SystemExit, match='run.pkl.*write it again'):
        run('run.pkl', case[0])


def test_ground_truth_that_cannot_be_found_is_told(case, run, tmp_path,
                                                   capsys):
    content = json.loads((tmp_path / 'ann.json').read_text())
    for item in content['annotations']:
        item['bbox'] = [value / 100 for value in item['bbox']]
    content['annotations'][0]['segmentation'] = []
    content['annotations'][0]['image_id'] = 99
    content['annotations'][1]['segmentation'] = []
    path = write_json(tmp_path / 'fractions.json', content)
    run('run.pkl', path, '--metric', 'lvis_fixed')
    shown = capsys.readouterr().out
    total = len(content['annotations'])
    assert f'1 of {total} annotations belong to images that are not' in shown
    assert f'{total - 1} of {total - 1} annotations are smaller' in shown
    assert 'lvis_fixed compares boxes alone, since annotations[1]' in shown
    assert 'lvis_fixed_segm' not in shown
