#!/usr/bin/env python
"""Time RoIAlign and NMS beside compiled MMCV, where it is compiled."""
import argparse
import platform
import statistics
import sys
import time

from eql_mmdet.host import ops

# isort: split

import torch
from mmcv.ops import batched_nms, roi_align
from mmengine.logging import MMLogger

MODULES = [sys.modules[f'mmcv.ops.{name}'] for name in ('nms', 'roi_align')]
EXT = MODULES[0].ext_module
#: What it is: RoIs, images, channels, size, scale, bins, samples, sides of
#: the RoIs on the features.
ROIS = {
    'boxes, stride 4': (512, 2, 256, (200, 304), 1 / 4, 7, 0, (2, 28)),
    'boxes, stride 8': (512, 2, 256, (100, 152), 1 / 8, 7, 0, (14, 28)),
    'boxes, stride 16': (512, 2, 256, (50, 76), 1 / 16, 7, 0, (14, 28)),
    'boxes, all of the map': (64, 2, 256, (50, 76), 1 / 16, 7, 0, (28, 76)),
    'masks, stride 4': (128, 2, 256, (200, 304), 1 / 4, 14, 0, (2, 28)),
    'mask targets': (64, 64, 1, (800, 1333), 1., 28, 0, (20, 600)),
    'quick config': (128, 16, 48, (32, 32), 1 / 4, 7, 0, (2, 20)),
}
#: Boxes, categories or levels, IoU threshold, side of the image.
BOXES = {
    'proposals, quick config': (820, 3, 0.7, 128),
    'proposals, one level': (1000, 1, 0.7, 800),
    'proposals, all levels': (8000, 5, 0.7, 800),
    'a crowd': (4000, 1, 0.5, 200),
    'detections': (2000, 80, 0.5, 800),
}


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeat', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--only', nargs='*', help='rows to measure; by default all')
    return parser.parse_args(argv)


def draw_rois(case, device):
    """Draw features and RoIs with log-uniform sides."""
    number, images, channels, size, scale, *_, sides = case
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(images, channels, *size, generator=generator)
    centre = torch.rand(number, 2, generator=generator)
    centre *= torch.tensor(size[::-1])
    low, high = torch.tensor(sides).float().log()
    side = torch.rand(number, 2, generator=generator) * (high - low) + low
    half = side.exp() / 2
    boxes = torch.cat([centre - half, centre + half], 1) / scale
    image = torch.arange(number)[:, None] % images
    return features.to(device), torch.cat([image, boxes], 1).to(device)


def forward_and_backward(case, device):
    """Return two functions without arguments."""
    *_, scale, bins, ratio, _ = case
    features, rois = draw_rois(case, device)
    args = (rois, bins, scale, ratio, 'avg', True)
    with_gradient = features.clone().requires_grad_()

    def backward(out=[]):
        # The first run makes what the others differentiate.
        if not out:
            out.append(roi_align(with_gradient, *args))
            out.append(torch.rand_like(out[0]))
        torch.autograd.grad(*out[:1], with_gradient, out[1], retain_graph=True)

    return lambda: roi_align(features, *args), backward


def suppression(case, device):
    """Return a function without arguments."""
    number, groups, threshold, image = case
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(number, 2, generator=generator) * image
    side = torch.exp(torch.rand(number, 2, generator=generator) * 3 + 2)
    boxes = torch.cat([corner, corner + side], 1).to(device)
    scores = torch.rand(number, generator=generator).to(device)
    group = (torch.arange(number) % groups).to(device)
    cfg = dict(type='nms', iou_threshold=threshold)
    return lambda: batched_nms(boxes, scores, group, cfg)


def measure(make, device, repeat):
    """Time each system in turn; return medians in ms by name."""
    systems = {'ours': ops}
    if not isinstance(EXT, ops.StandIn):
        systems['compiled'] = EXT
    runs = {name: make() for name in systems}
    times = {name: [] for name in systems}
    for i in range(repeat + 1):
        for name, run in runs.items():
            for module in MODULES:
                module.ext_module = systems[name]
            start = time.perf_counter()
            run()
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if i:
                times[name].append(1e3 * (time.perf_counter() - start))
    for module in MODULES:
        module.ext_module = EXT
    return {name: statistics.median(t) for name, t in times.items()}


def print_head(device, args):
    """Print what is measured where, and the head of the table."""
    card = torch.cuda.get_device_name(device) if device.type == 'cuda' else ''
    print(f'torch {torch.__version__}, {platform.machine()} {card}, '
          f'{args.threads} threads; median of {args.repeat} in ms\n')
    print('| | ours | compiled MMCV | ours / compiled |\n|---|---:|---:|---:|')


def print_row(name, times):
    """Print a row of the table."""
    ratio = '-'
    if 'compiled' in times:
        ratio = f'{times["ours"] / times["compiled"]:.2f}'
    print(f'| {name} | {times["ours"]:.2f} | '
          f'{times.get("compiled", float("nan")):.2f} | {ratio} |')


def main(argv=None):
    """Measure every case and print a table."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    MMLogger.get_instance('bench_ops', log_level='ERROR')
    device = torch.device(args.device)
    print_head(device, args)

    def wanted(cases):
        return ((name, case) for name, case in cases.items()
                if args.only is None or name in args.only)

    for name, case in wanted(ROIS):
        for i, way in enumerate(('forward', 'backward')):
            print_row(
                f'{name}, {way}',
                measure(lambda: forward_and_backward(case, device)[i], device,
                        args.repeat))
    for name, case in wanted(BOXES):
        print_row(
            name,
            measure(lambda: suppression(case, device), device, args.repeat))


if __name__ == '__main__':
    main()
