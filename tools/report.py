#!/usr/bin/env python
"""Write one HTML page about a run: numbers, confusions, images.

A work folder of a training without predictions is tested first.
"""
import argparse
import subprocess
import sys
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
from mmengine.config import Config

from eql_mmdet.annotations.category_counts import class_names
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.reports.measures import Resampling
from eql_mmdet.reports.run_report import Options, name_of, page_of
from eql_mmdet.reports.saved_run import find_run, missing_test

TEST = Path(__file__).with_name('test.py')


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'run',
        metavar='RUN',
        help='work folder with the .pkl of "tools/test.py --out", or that '
        'file, or a .json in the COCO result format')
    parser.add_argument(
        'ann',
        metavar='ANN',
        nargs='?',
        help='annotation file (.json, LVIS or COCO format) of the set that '
        'was tested; by default that of the work folder\'s config')
    parser.add_argument(
        '--out', help='the page; report.html beside the run by default')
    parser.add_argument(
        '--baseline',
        metavar='RUN',
        help='another run on the same set, to show the differences from it')
    add_sources(parser.add_argument_group('where things are'))
    add_options(parser.add_argument_group('what is shown'))
    return parser.parse_args(argv)


def add_sources(group):
    """Add what a work folder's config says otherwise."""
    group.add_argument(
        '--train',
        metavar='SOURCE',
        help='where the training images are counted: annotation file (.json) '
        'or counts (.csv) of the training set, lvis_v0.5 or lvis_v1; by '
        'default the training file of the config, or what ANN says')
    group.add_argument(
        '--classes',
        metavar='SOURCE',
        help='where the labels of a .pkl are from, as --train; by default the '
        'classes of the config, or ANN')
    group.add_argument('--images', metavar='DIR', help='folder of the images')


def add_options(group):
    """Add what the page is made with."""
    group.add_argument(
        '--metric',
        choices=('bbox', 'segm'),
        help='segm by default, if there are masks')
    group.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='detections below it are in no confusion and no picture')
    group.add_argument(
        '--pictures',
        type=int,
        default=8,
        help='worst and best images to show, of each')
    group.add_argument(
        '--samples', type=int, default=200, help='resampled data sets')
    group.add_argument('--seed', type=int, default=0)


@one_line_refusals('report')
def main(argv=None):
    """Read the run, write the page."""
    args = parse_args(argv)
    place = Path(args.run)
    folder = place if place.is_dir() else place.parent
    out = Path(args.out or folder / 'report.html')
    if out.exists():
        raise FileExistsError(
            f'"{out}" is already there; remove it or choose another with '
            f'--out')
    options = Options(args.metric, args.score_thr, args.pictures,
                      Resampling(args.samples, args.seed))
    for run in filter(None, (args.run, args.baseline)):
        test_if_needed(run)
    baseline = args.baseline and find_run(args.baseline, Config.fromfile)
    run = with_options(find_run(args.run, Config.fromfile), args)
    text = page_of(run, name_of(args.run), options, baseline, tell)
    with whole_file(out, replace=False) as file:
        file.write(text)
    print(f'the page is in {out}')


def test_if_needed(run):
    """Make the predictions of a folder where a training left none."""
    options = missing_test(run)
    if not options:
        return
    tell(f'no predictions in "{run}" yet: testing {options[1]}')
    if subprocess.run([sys.executable, str(TEST), *options]).returncode:
        raise ValueError(f'expected tools/test.py {" ".join(options)} to '
                         f'make predictions, but it failed')


def with_options(run, args):
    """Let the command line say what the config says otherwise."""
    given = dict(
        ann=args.ann,
        train=args.train,
        images=args.images,
        classes=args.classes and class_names(args.classes))
    return run._replace(**{k: v for k, v in given.items() if v})


def tell(line):
    """Print at once what takes long."""
    print(f'{line}...', flush=True)


if __name__ == '__main__':
    main()
