#!/usr/bin/env python
"""Evaluate saved predictions by the LVIS protocol, without a model."""
import argparse
import json
import sys
from pathlib import Path

from mmengine.utils import track_iter_progress

from eql_mmdet.annotations.category_counts import class_names
from eql_mmdet.evaluation.engines import ENGINES
from eql_mmdet.evaluation.per_category import (category_rows, group_table,
                                               write_rows)
from eql_mmdet.evaluation.protocol import METRICS
from eql_mmdet.evaluation.saved import PROPOSAL_NUMS, evaluate_predictions
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'predictions',
        help='.pkl of "tools/test.py --out", or .json in the COCO result '
        'format')
    parser.add_argument(
        'ann', help='annotation file (.json) in LVIS or COCO format')
    parser.add_argument(
        '--classes',
        metavar='SOURCE',
        help='where the labels of a .pkl are from, if not from ann: the '
        'annotation file (.json) or counts (.csv) of the training set, '
        'lvis_v0.5 or lvis_v1')
    parser.add_argument(
        '--metric',
        nargs='+',
        choices=METRICS,
        help='by default bbox, and segm if there are masks')
    parser.add_argument(
        '--engine',
        default='hotcoco',
        choices=tuple(ENGINES),
        help='hotcoco (default, seconds) or lvis (the reference, minutes)')
    parser.add_argument(
        '--proposal-nums', nargs='+', type=int, default=PROPOSAL_NUMS)
    parser.add_argument('--out', help='write the fractions here (.json)')
    parser.add_argument(
        '--per-category', help='write all categories here (.csv)')
    return parser.parse_args(argv)


@one_line_refusals('eval_results')
def main(argv=None):
    """Print the metrics and the groups; write files if asked."""
    args = parse_args(argv)
    for path in (args.out, args.per_category):
        if path and Path(path).exists():
            raise FileExistsError(
                f'"{path}" is already there; remove it or choose another')
    if args.per_category and args.metric == ['proposal']:
        raise ValueError('--per-category needs a metric with categories, '
                         'but got only "proposal"')
    # A bar in a log file would be one line an image.
    progress = track_iter_progress if sys.stdout.isatty() else list
    found = evaluate_predictions(args.predictions, args.ann, args.classes
                                 and class_names(args.classes), args.metric,
                                 args.engine, args.proposal_nums, print,
                                 progress)
    print(f'{found.images} of {len(found.index.sizes)} images have '
          f'predictions; the others count as images without detections')
    for note in found.notes:
        print(note)
    for name, value in found.values.items():
        percent = f'{100 * value:.2f}' if value >= 0 else '-'
        print(f'{name:<24} {percent:>6}')
    write(args, found.values, category_rows(found.index, found.curves),
          bool(found.curves))


def write(args, values, rows, has_curves):
    """Print the groups and write what was asked for."""
    if has_curves:
        print(group_table(rows))
    if args.out:
        with whole_file(args.out) as file:
            file.write(json.dumps(values, indent=2) + '\n')
        print(f'fractions are in {args.out}')
    if args.per_category:
        write_rows(args.per_category, rows)
        print(f'all categories are in {args.per_category}')


if __name__ == '__main__':
    main()
