#!/usr/bin/env python
"""Count images and instances per category and show which tails they have."""
import argparse
from pathlib import Path

from eql_mmdet.annotations.category_counts import format_counts, load_counts
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.rarity.frequency import tail_table


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'ann',
        help='COCO/LVIS annotation file (.json), counts file (.csv), '
        'lvis_v0.5 or lvis_v1')
    parser.add_argument(
        '--out',
        help='write the counts here (.csv), for frequency_source in a config')
    return parser.parse_args(argv)


@one_line_refusals('count_classes')
def main(argv=None):
    """Print the table of thresholds; write the counts if asked."""
    args = parse_args(argv)
    if args.out and Path(args.out).suffix != '.csv':
        raise ValueError(f'expected --out to end in .csv, got "{args.out}"')
    if args.out and Path(args.out).exists():
        raise FileExistsError(
            f'"{args.out}" is already there; remove it or choose another')
    counts = load_counts(args.ann)
    rows = tail_table(counts)
    print(f'{counts.source}: {len(counts.ids)} categories, '
          f'{counts.num_images} images with annotations, '
          f'{counts.instance_count.sum()} instances')
    print(f'images per category: {counts.image_count.min()} to '
          f'{counts.image_count.max()}')
    for finding in counts.findings:
        print(f'  {finding}')
    print('\nfrequency_threshold  tail_ratio  protected  (rare / common / '
          'frequent)')
    for row in rows:
        groups = ' / '.join(map(str, row.groups))
        print(f'{row.threshold:19.4e}  {row.tail_ratio:10.4f}  '
              f'{row.protected:9d}  ({groups})')
    if args.out:
        with whole_file(args.out, replace=False, encoding='utf-8') as file:
            file.write(format_counts(counts))
        print(f'\ncounts written to {args.out}')


if __name__ == '__main__':
    main()
