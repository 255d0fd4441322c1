#!/usr/bin/env python
"""Compare the saved predictions of two runs on the same LVIS data."""
import argparse
import sys
from pathlib import Path

from mmengine.utils import track_iter_progress

from eql_mmdet.annotations.category_counts import class_names
from eql_mmdet.annotations.lvis_index import load_index
from eql_mmdet.evaluation import protocol
from eql_mmdet.evaluation.per_category import write_rows
from eql_mmdet.evaluation.predictions import read_predictions
from eql_mmdet.evaluation.results import compact, merge_results
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.reports.comparison import (compare_results, difference_table,
                                          draw_against_images)


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in 'ab':
        parser.add_argument(
            name,
            metavar=name.upper(),
            help='.pkl of "tools/test.py --out", or .json in the COCO result '
            'format')
    parser.add_argument(
        '--ann', required=True, help='LVIS annotation file (.json)')
    parser.add_argument(
        '--classes',
        metavar='SOURCE',
        help='where the labels of a .pkl are from, if not from ann: the '
        'annotation file (.json) or counts (.csv) of the training set, '
        'lvis_v0.5 or lvis_v1')
    parser.add_argument(
        '--metric',
        choices=('bbox', 'segm'),
        help='segm by default, if both have masks')
    parser.add_argument(
        '--samples', type=int, default=200, help='resampled data sets')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--confidence', type=float, default=0.95)
    parser.add_argument(
        '--show', type=int, default=10, help='categories to print each way')
    parser.add_argument('--csv', help='write all categories here')
    parser.add_argument(
        '--picture', help='draw AP against training images here (.png)')
    return parser.parse_args(argv)


@one_line_refusals('compare_results')
def main(argv=None):
    """Print groups and the categories that changed most; write files."""
    args = parse_args(argv)
    for path in (args.csv, args.picture):
        if path and Path(path).exists():
            raise FileExistsError(
                f'"{path}" is already there; remove it or choose another')
    # A bar in a log file would be one line an image.
    progress = track_iter_progress if sys.stdout.isatty() else list
    classes = args.classes and class_names(args.classes)
    index = load_index(args.ann, classes)
    raw = [read_predictions(path, index) for path in (args.a, args.b)]
    masks = all(any(r.masks is not None for r in run) for run in raw)
    metric = args.metric or ('segm' if masks else 'bbox')
    needs = protocol.needs_of([metric], (), index)
    runs = [
        merge_results([compact(item, index, needs) for item in run])
        for run in raw
    ]
    print(
        f'{metric} AP in percent, A = {args.a}, B = {args.b}\nresampling '
        f'{len(index.sizes)} images {args.samples} times...',
        flush=True)
    found = compare_results(runs, index, metric, args.samples, args.seed,
                            args.confidence, progress)
    show(args, found)
    write(args, found)


def show(args, found):
    """Print the groups and both ends of the categories."""
    print(f'\n{args.confidence:.0%} bootstrap intervals over images')
    print(difference_table(found.groups))
    ranked = sorted(found.categories, key=lambda row: row['difference'])
    print(f'the {args.show} categories that B improves most')
    print(difference_table(ranked[::-1][:args.show]))
    print(f'the {args.show} categories that B worsens most')
    print(difference_table(ranked[:args.show]))


def write(args, found):
    """Write the files that were asked for."""
    # Annotations without image counts cannot be drawn: then write nothing.
    if args.picture:
        draw_against_images(args.picture, found.categories,
                            (Path(args.a).stem, Path(args.b).stem))
        print(f'the picture is in {args.picture}')
    if args.csv:
        write_rows(args.csv, found.categories)
        print(f'all categories are in {args.csv}')


if __name__ == '__main__':
    main()
