"""tools/compare_results.py: what changed between two runs."""
import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from lvis_data import make_dataset, make_samples, write_json
from mmdet.evaluation import DumpDetResults

from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric


@pytest.fixture
def case(tmp_path):
    """Annotations, and predictions of two runs with their mask AP."""
    dataset = make_dataset(np.random.default_rng(7), images=20, categories=5)
    ann = write_json(tmp_path / 'ann.json', dataset)
    values = {}
    for name, seed, most in (('a', 1, 5), ('b', 2, 20)):
        samples = make_samples(np.random.default_rng(seed), dataset, most)
        dump = DumpDetResults(out_file_path=str(tmp_path / f'{name}.pkl'))
        dump.process({}, copy.deepcopy(samples))
        dump.evaluate(len(samples))
        metric = LVISEvalMetric(ann, 'segm')
        metric.process({}, samples)
        values[name] = metric.evaluate(len(samples))['lvis/segm_AP']
    return ann, values


@pytest.fixture
def run(load_tool, tmp_path):

    def run(ann, *args):
        load_tool('compare_results').main([
            str(tmp_path / 'a.pkl'),
            str(tmp_path / 'b.pkl'), '--ann', ann, '--samples', '20', *args
        ])

    return run


def test_differences_are_printed_written_and_drawn(case, run, tmp_path,
                                                   capsys):
    ann, values = case
    rows, picture = tmp_path / 'new' / 'rows.csv', tmp_path / 'new' / 'ap.png'
    run(ann, '--csv', str(rows), '--picture', str(picture))
    shown = capsys.readouterr().out
    assert 'segm AP in percent' in shown
    difference = 100 * (values['b'] - values['a'])
    line, = (line for line in shown.splitlines() if '| all ' in line)
    assert f'| {difference:+.1f} ' in line
    assert picture.read_bytes().startswith(b'\x89PNG')
    with open(rows) as file:
        found = list(csv.DictReader(file))
    for name in 'ab':
        mean = np.mean([float(row[f'AP_{name}']) for row in found])
        assert mean == pytest.approx(values[name])


def test_boxes_can_be_compared(case, run, capsys):
    run(case[0], '--metric', 'bbox', '--show', '2')
    assert 'bbox AP in percent' in capsys.readouterr().out


@pytest.mark.parametrize('option', ['--csv', '--picture'])
def test_files_are_not_overwritten(case, run, option):
    with pytest.raises(SystemExit, match='ann.json'):
        run(case[0], option, case[0])


def test_what_cannot_be_drawn_leaves_no_file(case, run, tmp_path):
    data = json.loads(Path(case[0]).read_text())
    for category in data['categories']:
        del category['image_count']
    Path(case[0]).write_text(json.dumps(data))
    rows, picture = tmp_path / 'rows.csv', tmp_path / 'ap.png'
    with pytest.raises(SystemExit, match='"image_count"'):
        run(case[0], '--csv', str(rows), '--picture', str(picture))
    assert not rows.exists() and not picture.exists()
