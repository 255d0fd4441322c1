#!/usr/bin/env python
"""Tabulate finished runs: AP of every seed, mean and spread of a config."""
import argparse
from pathlib import Path

from mmengine.config import Config

from eql_mmdet.evaluation.per_category import write_rows
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.reports.runs import check_runs, read_run, run_rows, runs_table


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'work_dirs',
        nargs='+',
        metavar='WORK_DIR',
        help='--work-dir of a finished training; one config and one seed '
        'each (--cfg-options randomness.seed=1)')
    parser.add_argument(
        '--out',
        default='work_dirs/ablations',
        help='write OUT.md (percent) and OUT.csv (fractions); default: '
        '%(default)s')
    return parser.parse_args(argv)


@one_line_refusals('collect_ablations')
def main(argv=None):
    """Read all runs, then print the table and write both files."""
    args = parse_args(argv)
    files = [Path(f'{args.out}.{ending}') for ending in ('md', 'csv')]
    for path in files:
        if path.exists():
            raise FileExistsError(
                f'"{path}" is already there; remove it or choose another')
    rows = run_rows(load_runs(args.work_dirs))
    table = runs_table(rows)
    print(table)
    with whole_file(files[0], encoding='utf-8') as file:
        file.write(table)
    write_rows(files[1], rows)
    print(f'written to {files[0]} and {files[1]}')


def load_runs(work_dirs):
    """Read the runs; name all that are missing or unfinished."""
    runs, wrong = [], []
    for work_dir in work_dirs:
        try:
            runs.append(read_run(Path(work_dir), load_settings))
        except ValueError as error:
            wrong.append(f'{work_dir}: {error}')
    if wrong:
        raise ValueError(f'{len(wrong)} of {len(work_dirs)} runs cannot be '
                         'used: ' + '; '.join(wrong))
    check_runs(runs)
    return runs


def load_settings(path):
    """Read a config that the runner has written."""
    return Config.fromfile(path, import_custom_modules=False).to_dict()


if __name__ == '__main__':
    main()
