#!/usr/bin/env python
"""Write a config for two annotation files, COCO or LVIS format.

It says what the files are, chooses the detector and the remedy for their
long tail by docs/which.md, and what to type next.
"""
import argparse
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
from mmengine.hub import get_config

from eql_mmdet.advice.choice import choose, situation_of
from eql_mmdet.advice.config_text import Detector, config_text
from eql_mmdet.advice.methods import (CALIBRATIONS, LOSSES, SAMPLERS, describe,
                                      parse_method)
from eql_mmdet.advice.survey import survey
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file

DETECTORS = ('mask-rcnn_r50', 'mask-rcnn_r101', 'faster-rcnn_r50',
             'faster-rcnn_r101')


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('train', help='annotation file of the training set')
    parser.add_argument('val', help='that of the set to validate on')
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='folder of the images, or of their folders; by default they are '
        'looked for around the annotation files')
    parser.add_argument(
        '--out',
        default='my_config.py',
        metavar='PY',
        help='my_config.py by default; never overwritten')
    parser.add_argument(
        '--method',
        metavar='NAME',
        help=f'another remedy: a loss ({", ".join(LOSSES)}), with "+" a '
        f'sampler ({", ".join(SAMPLERS)}) and a calibration '
        f'({", ".join(list(CALIBRATIONS)[1:])}), such as eql+rfs')
    parser.add_argument(
        '--detector',
        choices=DETECTORS,
        help='mask-rcnn_r50 by default, faster-rcnn_r50 if there are no masks')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a small model and a short training, to try everything on a CPU')
    return parser.parse_args(argv)


@one_line_refusals('new_config')
def main(argv=None):
    """Look at the files, choose, write, and say what is next."""
    args = parse_args(argv)
    out = Path(args.out)
    check_out(out)
    method = args.method and parse_method(args.method)
    found = survey(args.train, args.val, args.images, lambda line: print(line))
    for split in (found.train, found.val):
        show(split)
    detector = choose_detector(args, found)
    choice = choose(situation_of(found))
    reasons = list(choice.reasons)
    if method and method != choice.method:
        reasons = [
            f'Chosen by hand; docs/which.md would take {choice.method}.'
        ]
    method = method or choice.method
    text = config_text(found, method, reasons, detector)
    with whole_file(out, replace=False, encoding='utf-8') as file:
        file.write(text)
    print(f'\ndetector: {detector}\nmethod: {method}, {describe(method)}')
    print('\n'.join(f'  {line}' for line in reasons))
    run = f'work_dirs/{out.stem}'
    print(f'\n{out} is written. Next:\n'
          f'  tools/train.py {out}\n'
          f'  tools/report.py {run}')


def check_out(out):
    """Refuse a file that is there, or that the host could not read."""
    if out.suffix != '.py' or '.' in out.stem:
        raise ValueError(f'expected --out to be a .py file without another '
                         f'dot in its name, but got "{out}"')
    if out.exists():
        raise FileExistsError(f'"{out}" is already there; remove it or choose '
                              f'another with --out')


def show(split):
    """Print what is in a file and what a person should know of it."""
    print(f'\n{split.ann}, images in "{split.images}"')
    for fact in split.check.facts:
        print(f'  {fact}')
    for finding in split.check.findings:
        print(f'- {finding}')


def choose_detector(args, found):
    """Choose by the masks, if nothing is asked for."""
    asked = args.detector
    if asked and asked.startswith('mask') and found.maskless:
        raise ValueError(f'expected every object to have a mask for '
                         f'{asked}, but {found.maskless}; draw it, or take '
                         f'faster-rcnn_r50')
    if found.maskless:
        print(f'\nboxes, no masks: {found.maskless}')
    asked = asked or ('faster-rcnn_r50' if found.maskless else 'mask-rcnn_r50')
    kind, depth = asked.split('_r')
    masks = kind == 'mask-rcnn'
    if args.quick:
        return Detector(masks, 18)
    return Detector(masks, int(depth), zoo_weights(asked))


def zoo_weights(name):
    """Ask the host's model zoo where the weights of COCO are."""
    family = name.split('_')[0].replace('-', '_')
    cfg = get_config(f'mmdet::{family}/{name}_fpn_1x_coco.py', pretrained=True)
    return cfg.model_path


if __name__ == '__main__':
    main()
