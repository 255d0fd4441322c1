#!/usr/bin/env python
"""Count images and instances per category and show which tails they have."""
import argparse
from pathlib import Path

from eql_mmdet.annotations.category_counts import format_counts, load_counts
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


def main(argv=None):
    """Print the table of thresholds; write the counts if asked."""
    args = parse_args(argv)
    if args.out and Path(args.out).suffix != '.csv':
        raise ValueError(f'expected --out to end in .csv, got "{args.out}"')
    if args.out and Path(args.out).exists():
        raise FileExistsError(
            f'"{args.out}" is already there; remove it or choose another')
    counts = load_counts(args.ann)
    print(f'{counts.source}: {len(counts.ids)} categories, '
          f'{counts.num_images} images with annotations, '
          f'{counts.instance_count.sum()} instances')
    print(f'images per category: {counts.image_count.min()} to '
          f'{counts.image_count.max()}')
    for finding in counts.findings:
        print(f'  {finding}')
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(format_counts(counts), encoding='utf-8')
        print(f'counts written to {args.out}')
    print('\nfrequency_threshold  tail_ratio  protected  (rare / common / '
          'frequent)')
    for row in tail_table(counts):
        groups = ' / '.join(map(str, row.groups))
        print(f'{row.threshold:19.4e}  {row.tail_ratio:10.4f}  '
              f'{row.protected:9d}  ({groups})')


if __name__ == '__main__':
    main()
