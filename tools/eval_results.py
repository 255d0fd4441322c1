#!/usr/bin/env python
"""Evaluate saved predictions by the LVIS protocol, without a model."""
import argparse
import json
import sys
from pathlib import Path

from mmengine.utils import track_iter_progress

from eql_mmdet.annotations.category_counts import class_names
from eql_mmdet.annotations.findings import list_findings
from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.annotations.training import evaluation_findings
from eql_mmdet.evaluation import protocol
from eql_mmdet.evaluation.engines import ENGINES
from eql_mmdet.evaluation.ground_truth import ground_truth
from eql_mmdet.evaluation.per_category import (category_rows, group_table,
                                               write_rows)
from eql_mmdet.evaluation.predictions import read_predictions
from eql_mmdet.evaluation.results import compact, merge_results
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'predictions',
        help='.pkl of "tools/test.py --out", or .json in the COCO result '
        'format')
    parser.add_argument('ann', help='LVIS annotation file (.json)')
    parser.add_argument(
        '--classes',
        metavar='SOURCE',
        help='where the labels of a .pkl are from, if not from ann: the '
        'annotation file (.json) or counts (.csv) of the training set, '
        'lvis_v0.5 or lvis_v1')
    parser.add_argument(
        '--metric',
        nargs='+',
        choices=protocol.METRICS,
        help='by default bbox, and segm if there are masks')
    parser.add_argument(
        '--engine',
        default='hotcoco',
        choices=tuple(ENGINES),
        help='hotcoco (default, seconds) or lvis (the reference, minutes)')
    parser.add_argument(
        '--proposal-nums', nargs='+', type=int, default=(100, 300, 1000))
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
    classes = args.classes and class_names(args.classes)
    index = load_index(args.ann, classes)
    metrics, results = load_results(args, index)
    tell_findings(metrics, results, index)
    with_masks = protocol.compares_masks(metrics, results, index)
    engine = ENGINES[args.engine](ground_truth(index, with_masks), log=print)
    values, curves = {}, {}
    for metric in metrics:
        for found in protocol.evaluate(engine, metric, results, index,
                                       args.proposal_nums):
            head = '' if metric == 'proposal' else f'{found.name}_'
            for item, value in found.values.items():
                values[head + item] = value
                percent = f'{100 * value:.2f}' if value >= 0 else '-'
                print(f'{head + item:<24} {percent:>6}')
            if metric != 'proposal':
                curves[found.name] = found.curves
    write(args, values, category_rows(index, curves), bool(curves))


def load_results(args, index):
    """Read the predictions; return what to evaluate, and on what."""
    # A bar in a log file would be one line an image.
    progress = track_iter_progress if sys.stdout.isatty() else list
    raw = read_predictions(args.predictions, index)
    masks = any(item.masks is not None for item in raw)
    metrics = args.metric or ['bbox', 'segm'][:1 + masks]
    needs = protocol.needs_of(metrics, args.proposal_nums, index)
    results = merge_results(
        [compact(item, index, needs) for item in progress(raw)])
    print(f'{len(results)} of {len(index.sizes)} images have predictions; '
          f'the others count as images without detections')
    return metrics, results


def tell_findings(metrics, results, index):
    """Print what is odd about the ground truth, and what it leaves out."""
    found = index.annotations
    for line in list_findings(found.path,
                              found.findings + evaluation_findings(found)):
        print(line)
    left_out = protocol.masks_left_out(metrics, results, index)
    if left_out:
        print(left_out)


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
