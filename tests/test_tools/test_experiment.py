"""The experiment: what is trained, what is kept, what is reported."""
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

FIELDS = ('up', 'down_foreground', 'down_background', 'own_score', 'own_rois')


@pytest.fixture
def experiment(load_tool):
    return load_tool('experiment')


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def finish():
    """Leave behind what a finished training does."""

    def finish(work_dir, name='eql', ap=0.5):
        folder = work_dir / '20260101_000000'
        (folder / 'vis_data').mkdir(parents=True)
        (folder / 'vis_data/config.py').write_text(
            f'train_cfg = dict(max_iters=9)\n'
            f'randomness = dict(seed={work_dir.name.split("_")[-1]})\n')
        values = {f'lvis/segm_{key}': ap for key in ('AP', 'APr', 'APc')}
        (folder / 'vis_data/scalars.json').write_text(json.dumps(values))
        (work_dir / f'{name}.py').touch()
        (work_dir / 'last_checkpoint').write_text('iter_9.pth')
        write(folder / 'per_category.csv', [
            dict(frequency='f', image_count=50, segm_AP=ap),
            dict(frequency='r', image_count=2, segm_AP='')
        ])
        pressure = [
            dict(
                iteration=i, category=k, name='x', **dict.fromkeys(FIELDS, i))
            for i in (1, 2) for k in (0, 1)
        ]
        write(folder / 'category_pressure.csv', pressure)

    return finish


@pytest.fixture
def trained(experiment, monkeypatch, finish, tmp_path):
    """Commands that would have been run; the trainings finish at once."""
    commands = []

    def run(command, env, stdout, stderr):
        commands.append((command, env['OMP_NUM_THREADS']))
        work_dir = tmp_path / command[command.index('--work-dir') + 1]
        finish(work_dir, Path(command[2]).stem)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(experiment.subprocess, 'run', run)
    monkeypatch.setattr(experiment, 'make_tiny_lvis', lambda *_, **__: None)
    monkeypatch.setattr(experiment, 'ROOT', tmp_path)
    monkeypatch.setattr(experiment.os, 'cpu_count', lambda: 4)
    monkeypatch.chdir(tmp_path)
    return commands


def test_every_method_and_seed_starts_from_the_same_weights(
        experiment, trained):
    experiment.main(['--out', 'out', '--seeds', '3', '4', '--jobs', '2'])
    (first, threads), *others = trained
    assert 'long_tail/pretrain.py' in first[2] and threads == '4'
    assert len(others) == 2 * len(experiment.METHODS)
    assert {command[-1] for command, _ in others} == {'load_from=iter_9.pth'}
    assert {command[-2]
            for command, _ in others
            } == {'randomness.seed=3', 'randomness.seed=4'}
    assert {threads for _, threads in others} == {'2'}


def test_finished_trainings_are_kept(experiment, trained):
    options = ['--out', 'out', '--seeds', '0', '--methods', 'sigmoid', 'eql']
    experiment.main(options)
    assert len(trained) == 3
    experiment.main([*options, 'rfs'])
    assert len(trained) == 4 and 'rfs.py' in trained[-1][0][2]


def test_report_has_pictures_and_the_whole_pressure(experiment, finish,
                                                    tmp_path, capsys):
    for seed, ap in ((0, 0.25), (1, 0.75)):
        finish(tmp_path / 'eql' / f'seed_{seed}', ap=ap)
    experiment.main(['--out', str(tmp_path), '--report-only'])
    table = capsys.readouterr().out
    # Two tables of a training, with 1 and 2 in every field.
    assert '| EQL | rare | 3.00 | 3.00 | 3.00 | 2.00 | 1.0000 |' in table
    assert '| eql | 2 | 50.00 ± 35.36 |' in table
    assert '| eql | 1 | 75.00 |' in table
    assert (tmp_path / 'results.md').read_text() in table
    assert imread(tmp_path / 'ap_by_count.png').std() > 0
    assert imread(tmp_path / 'pressure.png').std() > 0


def test_nothing_to_report_is_said(experiment, tmp_path):
    with pytest.raises(SystemExit, match='no finished training'):
        experiment.main(['--out', str(tmp_path), '--report-only'])


def test_a_failed_training_stops_the_experiment(experiment, trained,
                                                monkeypatch):
    monkeypatch.setattr(experiment.subprocess, 'run',
                        lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit, match='failed, see .*output.txt'):
        experiment.main(['--out', 'out', '--seeds', '0'])


def test_another_set_is_refused_in_one_line(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, 'ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data/long_tail_pretrain/train').mkdir(parents=True)
    with pytest.raises(SystemExit, match='^experiment: expected a free'):
        experiment.main(['--out', 'out'])
