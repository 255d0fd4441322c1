#!/usr/bin/env python
"""Say what of a data set is refused, lost, rare or missing, before training.

Exit status 1 if something is refused.
"""
import argparse
import sys

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.reports.data_check import check_data


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('ann', help='COCO/LVIS annotation file (.json)')
    parser.add_argument(
        '--images', metavar='DIR', help='look whether its images are here')
    parser.add_argument(
        '--train',
        metavar='ANN',
        help='annotation file of the training set, whose categories ann must '
        'have')
    return parser.parse_args(argv)


@one_line_refusals('check_data')
def main(argv=None):
    """Print facts, refusals and findings, then a verdict."""
    args = parse_args(argv)
    found = check_data(args.ann, args.images, args.train)
    print(args.ann)
    for fact in found.facts:
        print(f'  {fact}')
    for head, lines in (('refused', found.refused), ('to know',
                                                     found.findings)):
        if lines:
            print(f'\n{head}:')
        for line in lines:
            print(f'- {line}')
    if found.refused:
        print(f'\n{len(found.refused)} refused: this cannot be used as it is')
        if not found.facts:
            print('the file is read no further than its first fault: mend it '
                  'and check again')
        return 1
    print(f'\nnothing is refused, {len(found.findings)} to know')
    return 0


if __name__ == '__main__':
    sys.exit(main())
