#!/usr/bin/env python
"""Train the classifier of a detector again, with another loss or sampler."""
import argparse
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
import torch
from mmengine.config import DictAction

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.retraining.classifier import Schedule
from eql_mmdet.retraining.run import Pooling, retrain_classifier


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='docs/retraining.md says more.')
    parser.add_argument('config', help='its loss and sampler are used')
    parser.add_argument('checkpoint', help='of the detector (.pth)')
    parser.add_argument(
        '--out',
        metavar='PTH',
        help='work_dirs/CONFIG/retrained.pth by default; never overwritten')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_pooling(parser.add_argument_group('features'))
    add_training(parser.add_argument_group('training'))
    return parser.parse_args(argv)


def add_pooling(group):
    """Add what decides the size of the features."""
    group.add_argument(
        '--features',
        metavar='DIR',
        help='CHECKPOINT.features by default; used again if they are of the '
        'same detector and data, and gone on with if they are not whole')
    group.add_argument(
        '--rois-per-image',
        type=int,
        metavar='N',
        help='by default as in training, num of the RoI sampler')
    group.add_argument(
        '--background',
        type=int,
        metavar='N',
        help='the most background RoIs of an image')
    group.add_argument(
        '--half', action='store_true', help='keep features as float16')
    group.add_argument(
        '--workers', type=int, default=0, help='processes that load images')


def add_training(group):
    """Add the options of the schedule, with its defaults."""
    for name, default in Schedule()._asdict().items():
        group.add_argument(
            f'--{name.replace("_", "-")}', type=type(default), default=default)


@one_line_refusals('retrain_classifier')
def main(argv=None):
    """Pool features, train the head and write a checkpoint."""
    args = parse_args(argv)
    out = Path(args.out or f'work_dirs/{Path(args.config).stem}/retrained.pth')
    found = retrain_classifier(
        args.config,
        args.checkpoint,
        out,
        args.cfg_options,
        Schedule(*(getattr(args, name) for name in Schedule._fields)),
        Pooling(args.features, args.rois_per_image, args.background, args.half,
                args.workers),
        seed=args.seed,
        device=args.device)
    print(f'not taken from {args.checkpoint}: '
          f'{", ".join(found.left_out) or "-"}\n'
          f'{found.num_rois} RoIs in {found.pooling_seconds:.0f} s, '
          f'{args.steps} steps in {found.training_seconds:.0f} s, loss '
          f'{found.loss:.4f}\n'
          f'{out}: tools/test.py {args.config} {out}')


if __name__ == '__main__':
    main()
