#!/usr/bin/env python
"""Write a synthetic data set in LVIS format, to try things out."""
import argparse
import time
from typing import Optional, Sequence

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('out', help='folder to write')
    meanings = dict(
        categories=(60, 'number of categories, 12 to 1230'),
        train=(1000, 'number of train images'),
        val=(200, 'number of val images'),
        size=(128, 'height and width of the images in pixels'),
        seed=(0, 'decides everything that is random'))
    for name, (default, meaning) in meanings.items():
        parser.add_argument(
            f'--{name}', type=int, default=default, help=meaning)
    return parser.parse_args(argv)


@one_line_refusals('make_tiny_lvis')
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write the set and say what is in it."""
    args = parse_args(argv)
    start = time.perf_counter()
    made = make_tiny_lvis(
        args.out,
        num_categories=args.categories,
        num_train=args.train,
        num_val=args.val,
        image_size=args.size,
        seed=args.seed)
    rare, common, frequent = made.categories.values()
    print(f'{args.out}: {rare} rare, {common} common and {frequent} frequent '
          'categories')
    for split, number in made.images.items():
        print(f'  {split}: {number} images, {made.annotations[split]} objects')
    seconds = time.perf_counter() - start
    print(f'  {"written" if made.written else "was already there"}, '
          f'{seconds:.1f} s')


if __name__ == '__main__':
    main()
