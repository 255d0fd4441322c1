#!/usr/bin/env python
"""Train five methods on a synthetic long-tailed set and compare them."""
import argparse
import csv
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.config import Config

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.reports.long_tail_report import (Categories, draw_ap_by_count,
                                                draw_pressure, pressure_table)
from eql_mmdet.reports.pressure import Pressure
from eql_mmdet.reports.runs import check_runs, read_run, run_rows, runs_table
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = Path('configs/quick/long_tail')
#: Config -> name in tables and pictures.
METHODS = dict(
    baseline='softmax',
    sigmoid='sigmoid',
    eql='EQL',
    rfs='softmax + RFS',
    eql_rfs='EQL + RFS')
FINISHED = 'per_category.csv'  # is written by the evaluation at the end


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        default='work_dirs/long_tail',
        help='folder of all trainings; what is finished there is kept')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], help='of each')
    parser.add_argument(
        '--methods', nargs='+', choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='trainings at a time; the processors are shared out')
    parser.add_argument(
        '--report-only', action='store_true', help='train nothing')
    return parser.parse_args(argv)


@one_line_refusals('experiment')
def main(argv=None):
    """Write the sets, train what is missing, leave tables and pictures."""
    args = parse_args(argv)
    os.chdir(ROOT)
    out = Path(args.out)
    if not args.report_only:
        make_tiny_lvis(
            'data/long_tail_pretrain',
            num_categories=60,
            num_train=3000,
            num_val=200,
            seed=1)
        make_tiny_lvis(
            'data/long_tail',
            num_categories=120,
            num_train=3000,
            num_val=600,
            seed=0)
        train_all(args, out)
    report(args, out)


def train_all(args, out):
    """Train the common start, then every method and seed."""
    threads = max(1, os.cpu_count() // args.jobs)
    start = out / 'pretrain'
    if not log_dirs(start):
        train('pretrain', start, os.cpu_count(), '--resume')
    checkpoint = (start / 'last_checkpoint').read_text().strip()
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [
            pool.submit(train, name, run_dir(out, name,
                                             seed), threads, '--cfg-options',
                        f'randomness.seed={seed}', f'load_from={checkpoint}')
            for seed in args.seeds for name in args.methods
            if not log_dirs(run_dir(out, name, seed))
        ]
        for run in runs:
            run.result()


def train(name, work_dir, threads, *options):
    """Run tools/train.py in a process of its own; its output is a file."""
    work_dir.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    command = [
        sys.executable, 'tools/train.py', f'{CONFIGS / name}.py', '--work-dir',
        str(work_dir), *options
    ]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    with open(work_dir / 'output.txt', 'w') as output:
        code = subprocess.run(
            command, env=environment, stdout=output,
            stderr=subprocess.STDOUT).returncode
    if code:
        raise SystemExit(f'{" ".join(command)} failed, see {output.name}')
    print(
        f'{work_dir}: {(time.perf_counter() - start) / 60:.1f} minutes',
        flush=True)


def run_dir(out, name, seed):
    """Say where a training lives."""
    return out / name / f'seed_{seed}'


def log_dirs(work_dir):
    """Find the folders of finished trainings, the newest last."""
    return sorted(path.parent for path in work_dir.glob(f'*/{FINISHED}'))


def report(args, out):
    """Write tables and pictures about the runs that are finished."""
    work_dirs = {
        METHODS[name]: [
            run_dir(out, name, seed) for seed in args.seeds
            if log_dirs(run_dir(out, name, seed))
        ]
        for name in args.methods
    }
    work_dirs = {name: found for name, found in work_dirs.items() if found}
    if not work_dirs:
        raise SystemExit(f'there is no finished training in {out}')
    runs = [
        read_run(work_dir, load_settings) for found in work_dirs.values()
        for work_dir in found
    ]
    check_runs(runs)
    table = runs_table(run_rows(runs)) + '\n' + report_categories(
        {
            name: [log_dirs(work_dir)[-1] for work_dir in found]
            for name, found in work_dirs.items()
        }, out)
    with whole_file(out / 'results.md', encoding='utf-8') as file:
        file.write(table)
    print(table)


def load_settings(path):
    """Read a config that the runner has written."""
    return Config.fromfile(path, import_custom_modules=False).to_dict()


def report_categories(runs, out):
    """Draw what depends on the image count; return the table of pressure."""
    rows = read(next(iter(runs.values()))[0] / FINISHED)
    categories = Categories(
        np.array([int(row['image_count']) for row in rows]),
        [row['frequency'] for row in rows])
    aps = {
        name:
        np.array([[
            float(row['segm_AP'] or 'nan') for row in read(folder / FINISHED)
        ] for folder in folders])
        for name, folders in runs.items()
    }
    whole, end = ({
        name: [read_pressure(folder, part) for folder in folders]
        for name, folders in runs.items()
    } for part in (slice(None), slice(-1, None)))
    draw_ap_by_count(categories, aps, out / 'ap_by_count.png')
    draw_pressure(categories, whole, end, out / 'pressure.png')
    return pressure_table(categories, whole, end)


def read(path):
    """Read a table with a header."""
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def read_pressure(folder, part):
    """Add up the tables of a training, all or the last."""
    rows = read(folder / 'category_pressure.csv')
    values = np.array([[float(row[name]) for name in Pressure._fields]
                       for row in rows])
    number = len({row['category'] for row in rows})
    tables = values.reshape(-1, number, len(Pressure._fields))
    return Pressure(*tables[part].sum(axis=0).T)


if __name__ == '__main__':
    main()
