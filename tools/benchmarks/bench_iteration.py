#!/usr/bin/env python
"""Time a training step and a test image, beside compiled MMCV as bench_ops."""
import argparse
import itertools
import tempfile
from pathlib import Path

import eql_mmdet  # noqa: F401

# isort: split

import torch
from bench_ops import measure, print_head, print_row
from mmdet.registry import DATASETS, MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

CONFIGS = Path(__file__).parents[2] / 'configs'
QUICK = CONFIGS / 'quick/eql_tiny_lvis.py'
R50 = CONFIGS / 'eql_r50_fpn_1x_lvis.py'
BATCHES = 4


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeat', type=int, default=10)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[800, 1333],
        help='height and width of the test image')
    return parser.parse_args(argv)


def load_batches(cfg, folder):
    """Write a small synthetic set and read batches of it."""
    size = cfg.train_dataloader.batch_size
    make_tiny_lvis(
        folder,
        num_categories=cfg.num_classes,
        num_train=BATCHES * size,
        num_val=size,
        seed=0)
    loss = cfg.model.roi_head.bbox_head.loss_cls
    loss.frequency_source = f'{folder}/annotations/tiny_lvis_train.json'
    dataset = DATASETS.build({
        **cfg.train_dataloader.dataset, 'data_root': f'{folder}/',
        'filter_cfg': None
    })
    return [
        pseudo_collate([dataset[size * i + j] for j in range(size)])
        for i in range(BATCHES)
    ]


def training(cfg, batches, device):
    """Return a function that trains the next step; the data are loaded."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    steps = itertools.count()

    def run():
        step = next(steps)
        torch.manual_seed(step)  # both systems sample the same RoIs
        return model.train_step(batches[step % BATCHES], optim_wrapper)

    return run


def testing(size, device):
    """Return a function that puts an image through an untrained R50."""
    torch.manual_seed(0)
    cfg = Config.fromfile(R50).model
    cfg.backbone.init_cfg = None
    model = MODELS.build(cfg)
    model.init_weights()
    model.to(device).eval()
    data = demo_mm_inputs(1, [[3, *size]], num_classes=1230)
    return lambda: model.test_step(data)


def main(argv=None):
    """Measure both and print a table."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    init_default_scope('mmdet')
    MMLogger.get_instance('bench_iteration', log_level='ERROR')
    device = torch.device(args.device)
    print_head(device, args)
    cfg = Config.fromfile(QUICK)
    with tempfile.TemporaryDirectory() as folder:
        batches = load_batches(cfg, folder)
        print_row(
            'a training step, quick config',
            measure(lambda: training(cfg, batches, device), device,
                    args.repeat))
    with torch.no_grad():
        print_row(
            f'an image at test time, R50, {args.size[0]} x {args.size[1]}',
            measure(lambda: testing(args.size, device), device, args.repeat))


if __name__ == '__main__':
    main()
