#!/usr/bin/env python
"""Train the classifier of a detector again, with another loss or sampler."""
import argparse
import time
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
import torch
from mmengine.config import DictAction

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.retraining.classifier import (Schedule, check_schedule,
                                             drawn_images, retrain,
                                             save_detector, start_head)
from eql_mmdet.retraining.detector import (build_dataset, build_detector,
                                           build_sampler, feature_settings,
                                           load_detector, read_config)
from eql_mmdet.retraining.pooling import make_layout, pool


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
    check(args, out)
    schedule = Schedule(*(getattr(args, name) for name in Schedule._fields))
    check_schedule(schedule)
    cfg = read_config(args.config, args.cfg_options, args.rois_per_image)
    dataset = build_dataset(cfg)
    model = build_detector(cfg, dataset)
    start_head(model.roi_head.bbox_head, args.seed)
    left_out = load_detector(model, args.checkpoint,
                             dataset.metainfo['classes'])
    print(f'not taken from {args.checkpoint}: {", ".join(left_out) or "-"}')
    model.to(args.device)
    start = time.perf_counter()
    features = pool_features(args, cfg, model, dataset)
    pooled = time.perf_counter()
    torch.manual_seed(args.seed)  # what the loss draws
    sampler = build_sampler(cfg, dataset, args.seed)
    loss = retrain(model, features, drawn_images(sampler), schedule)
    save_detector(out, model, make_meta(args, cfg, dataset, schedule))
    print(f'{len(features.rois)} RoIs in {pooled - start:.0f} s, '
          f'{schedule.steps} steps in {time.perf_counter() - pooled:.0f} s, '
          f'loss {loss:.4f}\n'
          f'{out}: tools/test.py {args.config} {out}')


def check(args, out):
    """Refuse what would be noticed only after hours of work."""
    for name in ('config', 'checkpoint'):
        if not Path(getattr(args, name)).is_file():
            raise FileNotFoundError(f'expected {name} to be a file, but there '
                                    f'is no "{getattr(args, name)}"')
    if out.exists():
        raise FileExistsError(f'"{out}" is already there; remove it or choose '
                              f'another with --out')
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'expected a device of torch, but got '
                         f'"{args.device}"') from error


def pool_features(args, cfg, model, dataset):
    """Pool features beside the checkpoint, or where they shall be."""
    folder = Path(
        args.features or Path(args.checkpoint).with_suffix('.features'))
    layout = make_layout(folder, model, len(dataset), args.background,
                         args.half)
    return pool(model, dataset, layout, feature_settings(cfg, args.checkpoint),
                args.background, args.workers)


def make_meta(args, cfg, dataset, schedule):
    """Say in the checkpoint what it is."""
    return dict(
        dataset_meta=dataset.metainfo,
        cfg=cfg.pretty_text,
        seed=args.seed,
        retrained=dict(
            schedule._asdict(),
            checkpoint=Path(args.checkpoint).name,
            background=args.background,
            half=args.half))


if __name__ == '__main__':
    main()
