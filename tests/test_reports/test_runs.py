"""Tables of runs against arithmetic, and runs that do not belong there."""
import math
import statistics

import pytest

from eql_mmdet.reports.runs import Run, check_runs, run_rows, runs_table

SETTINGS = dict(model=dict(depth=50), train_cfg=dict(max_epochs=2))


def make_run(config, seed, ap, **kwargs):
    values = dict(
        segm_AP=ap, segm_APr=ap / 4, segm_APc=math.nan, segm_APf=ap * 2)
    return Run(config, seed, values, dict(SETTINGS, **kwargs))


@pytest.fixture
def runs():
    return [
        make_run('eql', 10, 0.25),
        make_run('baseline', 0, 0.2),
        make_run('eql', 2, 0.22),
        make_run('eql', 1, 0.28)
    ]


def test_rows_are_the_runs_with_mean_and_deviation(runs):
    rows = run_rows(runs)
    assert [(row['config'], row['seed'])
            for row in rows] == [('eql', 1), ('eql', 2), ('eql', 10),
                                 ('baseline', 0), ('eql', 'mean'),
                                 ('eql', 'sd'), ('baseline', 'mean'),
                                 ('baseline', 'sd')]
    mean, sd = rows[4], rows[5]
    assert mean['segm_AP'] == pytest.approx(0.25)
    assert sd['segm_AP'] == pytest.approx(0.03)
    assert mean['segm_APr'] == pytest.approx(0.25 / 4)
    assert sd['segm_APf'] == pytest.approx(statistics.stdev([0.5, 0.44, 0.56]))
    assert mean['segm_APc'] is None and rows[7]['segm_AP'] is None
    assert not any('bbox' in key for key in mean)


def test_table_is_in_percent(runs):
    means, single = runs_table(run_rows(runs)).split('\n\n')
    assert '| eql | 3 | 25.00 ± 3.00 | 6.25 ± 0.75 | - | 50.00' in means
    assert '| baseline | 1 | 20.00 | 5.00 | - | 40.00 |' in means
    assert '| eql | 10 | 25.00 | 6.25 | - | 50.00 |' in single
    assert single.count('\n') == 6


def test_box_and_mask_have_columns_of_their_own(runs):
    both = runs[0]._replace(values=dict(runs[0].values, bbox_AP=0.3))
    table = runs_table(run_rows([both, *runs[1:]]))
    assert '| config | runs | box AP | box APr | box APc | box APf | mask' in (
        table)
    assert '| eql | 10 | 30.00 | - | - | - | 25.00 |' in table


def test_a_run_given_twice_is_named(runs):
    with pytest.raises(ValueError, match='eql with seed 2 is given twice'):
        check_runs([*runs, make_run('eql', 2, 0.5)])


def test_runs_that_differ_in_more_than_the_seed_are_named(runs):
    other = make_run('eql', 3, 0.5, model=dict(depth=101))
    with pytest.raises(ValueError, match='seeds 10 and 3 differ in model;'):
        check_runs([*runs, other])
    check_runs([*runs, make_run('eql', 3, 0.5, work_dir='elsewhere')])
