#!/usr/bin/env python
"""Convert a Mask R-CNN checkpoint of detectron2 for mmdet, or back."""
import argparse
from typing import Any, Optional, Sequence

from eql_mmdet.checkpoints.detectron2 import to_detectron2, to_mmdet
from eql_mmdet.checkpoints.detectron2_file import (check_target,
                                                   write_checkpoint)
from eql_mmdet.host.checkpoints import load_local_checkpoint
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.safe_pickle import read_pickle


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='docs/checkpoints.md says more.')
    parser.add_argument(
        'source', metavar='IN', help='.pth or .pkl of detectron2')
    parser.add_argument(
        'target', metavar='OUT', help='.pth for mmdet; never overwritten')
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='IN is a .pth of mmdet, OUT a .pth or .pkl for detectron2')
    return parser.parse_args(argv)


def read(path: str) -> Any:
    """Read a file without running code that may be in it."""
    if path.endswith('.pkl'):
        return read_pickle(path)
    return load_local_checkpoint(path, map_location='cpu')


@one_line_refusals('convert_detectron2')
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Convert the file and say what went where."""
    args = parse_args(argv)
    suffixes = ('.pth', '.pkl') if args.reverse else ('.pth', )
    convert = to_detectron2 if args.reverse else to_mmdet
    check_target(args.target, suffixes)
    done = convert(read(args.source))
    write_checkpoint(args.target, done.checkpoint)
    for old, new, shape in done.moved:
        print(f'{old} -> {new} {shape}')
    print(f'{args.target}: {len(done.moved)} tensors converted, none left')
    for note in done.notes:
        print(f'  {note}')


if __name__ == '__main__':
    main()
