#!/usr/bin/env python
"""Convert a Mask R-CNN checkpoint of detectron2 for mmdet, or back."""
import argparse
from typing import Any, Optional, Sequence

from eql_mmdet.checkpoints.class_names import read_names
from eql_mmdet.checkpoints.detectron2 import (Conversion, to_detectron2,
                                              to_mmdet)
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
    parser.add_argument(
        '--classes',
        metavar='ANN',
        help='class names: an annotation file (.json), a counts file (.csv), '
        'lvis_v0.5 or lvis_v1; by default told from their number')
    return parser.parse_args(argv)


def read(path: str) -> Any:
    """Read a file without running code that may be in it."""
    if path.endswith('.pkl'):
        return read_pickle(path)
    return load_local_checkpoint(path, map_location='cpu')


def convert(args: argparse.Namespace) -> Conversion:
    """Read and convert a file, with class names on the way to mmdet."""
    if args.reverse and args.classes:
        raise ValueError('--classes is for the way to mmdet: detectron2 keeps '
                         'no class names in its checkpoints; leave it out')
    if args.reverse:
        return to_detectron2(read(args.source))
    classes = read_names(args.classes) if args.classes else None
    return to_mmdet(read(args.source), classes)


@one_line_refusals('convert_detectron2')
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Convert the file and say what went where."""
    args = parse_args(argv)
    suffixes = ('.pth', '.pkl') if args.reverse else ('.pth', )
    check_target(args.target, suffixes)
    done = convert(args)
    write_checkpoint(args.target, done.checkpoint)
    for old, new, shape in done.moved:
        print(f'{old} -> {new} {shape}')
    print(f'{args.target}: {len(done.moved)} tensors converted, none left')
    for note in done.notes:
        print(f'  {note}')


if __name__ == '__main__':
    main()
