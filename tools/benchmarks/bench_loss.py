#!/usr/bin/env python
"""Time the loss, forward and backward, beside others of the same size."""
import argparse
import platform
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from eql_mmdet import (BalancedSoftmaxLoss, ClassWeightedLoss, FederatedLoss,
                       SyncSeesawLoss)
from eql_mmdet.annotations.category_counts import (CategoryCounts,
                                                   format_counts,
                                                   frequency_group)
from eql_mmdet.losses.equalization_v2 import EqualizationLossV2
from eql_mmdet.losses.functional import equalization_loss
from eql_mmdet.losses.fused import equalization_roi_loss

# isort: split

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.losses import CrossEntropyLoss, EQLV2Loss, SeesawLoss
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from peak_memory import peak_memory, waiting

CONFIG = Path(__file__).parents[2] / 'configs/eql_r50_fpn_1x_lvis.py'
OURS = 'EQL, fused'
COMPILED = 'EQL, compiled'
AUTHORS = 'EQL, authors\' formula'
FLOOR = 'floor: copy + multiply'
#: SeesawLoss compares categories with categories: (K, K) matrices.
SEESAW_CLASSES = 20000


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--rois', type=int, nargs='+', default=[1024], help='R, RoIs')
    parser.add_argument(
        '--classes',
        type=int,
        nargs='+',
        default=[80, 365, 1230, 4000, 13204, 100000],
        help='K, foreground categories')
    parser.add_argument(
        '--seconds',
        type=float,
        default=5.,
        help='time for the repetitions at each size')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--compile', action='store_true', help='measure torch.compile too')
    parser.add_argument(
        '--iteration',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='measure the share of the loss in a training iteration of the '
        'R50 config, two random images of this size, instead')
    parser.add_argument('--plot', help='draw the curves here (.png)')
    return parser.parse_args(argv)


def authors_formula(logits, labels, tail_mask):
    """Write the paper's loss as the released code does, matrix by matrix.

    Eq. (1), (2) and (4) of Tan et al., CVPR 2020: one-hot targets, E(r) and
    T_lambda(f) expanded to (R, K), their product, the cross-entropy of every
    score and the weighted sum, over the number of RoIs.
    """
    rois, classes = logits.shape
    targets = logits.new_zeros(rois, classes + 1)
    targets[torch.arange(rois, device=labels.device), labels] = 1
    targets = targets[:, :classes]
    exclude = (labels != classes).to(logits)[:, None].expand(rois, classes)
    threshold = tail_mask[None].expand(rois, classes)
    weight = 1 - exclude * threshold * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(
        logits, targets, reduction='none')
    return torch.sum(loss * weight) / rois


def make_batch(rois, classes, device):
    """Draw logits, 25 % foreground labels and a tail of 74 %, seeded."""
    generator = torch.Generator().manual_seed(0)
    # As early in training: around the prior of 0.001.
    logits = torch.randn(rois, classes + 2, generator=generator) - 7
    labels = torch.randint(0, classes, (rois, ), generator=generator)
    labels[rois // 4:] = classes
    tail = (torch.rand(classes, generator=generator) < 0.74).float()
    return logits.to(device), labels.to(device), tail.to(device)


def counting_losses(classes):
    """Build the losses that take counts: 20,000 images over the rank."""
    images = 20000 // np.arange(1, classes + 1) + 1
    counts = CategoryCounts(
        source='benchmark',
        num_images=10**5,
        ids=tuple(range(classes)),
        names=tuple(f'c{k}' for k in range(classes)),
        groups=tuple(map(frequency_group, images)),
        image_count=images,
        instance_count=2 * images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'counts.csv'
        path.write_text(format_counts(counts))
        return {
            'FederatedLoss': (FederatedLoss(str(path)), 0),
            'BalancedSoftmaxLoss': (BalancedSoftmaxLoss(str(path)), 1),
            'ClassWeightedLoss': (ClassWeightedLoss(str(path), power=0.5), 1)
        }


def sum_of_losses(loss, labels):
    """Let losses by name count as one, as the host's trainer does."""
    return lambda z: sum(v for k, v in loss(z, labels).items() if 'loss' in k)


def systems(rois, classes, device, compiled):
    """Name what is measured: a loss of logits, and its number of columns."""
    logits, labels, tail = make_batch(rois, classes, device)
    targets = F.one_hot(labels, classes + 1)[:, :classes].float()

    def fused(z):
        return equalization_roi_loss(z, labels, tail).sum() / rois

    ours_v2 = EqualizationLossV2(num_classes=classes).to(device)
    eqlv2 = EQLV2Loss(num_classes=classes).to(device)
    softmax, sigmoid = CrossEntropyLoss(), CrossEntropyLoss(use_sigmoid=True)
    bce = F.binary_cross_entropy_with_logits
    named = {
        OURS: (fused, 0),
        'EQL, definition':
        (lambda z: equalization_loss(z, labels, tail).sum() / rois, 0),
        AUTHORS: (lambda z: authors_formula(z, labels, tail), 0),
        'BCE, targets given': (lambda z: bce(z, targets), 0),
        'mmdet sigmoid CE': (lambda z: sigmoid(z, labels), 0),
        'mmdet softmax CE': (lambda z: softmax(z, labels), 1),
        'EQL v2': (lambda z: ours_v2(z, labels), 1),
        'mmdet EQLV2Loss': (lambda z: eqlv2(z, labels), 1),
    }
    for name, (loss, extra) in counting_losses(classes).items():
        named[name] = partial(loss.to(device), label=labels), extra
    if classes <= SEESAW_CLASSES:
        for name, kind in [('mmdet SeesawLoss', SeesawLoss),
                           ('SyncSeesawLoss', SyncSeesawLoss)]:
            seesaw = kind(num_classes=classes).to(device)
            named[name] = sum_of_losses(seesaw, labels), 2
    if compiled:
        torch._dynamo.reset()
        named[COMPILED] = (torch.compile(fused, dynamic=False), 0)
    return {
        name: _forward_backward(loss, logits[:, :classes + extra])
        for name, (loss, extra) in named.items()
    } | {
        FLOOR: lambda: logits[:, :classes].clone().mul_(2)
    }


def _forward_backward(loss, logits):
    logits = logits.contiguous().requires_grad_()
    return lambda: torch.autograd.grad(loss(logits), logits)


def time_interleaved(runs, seconds, sync):
    """Repeat all runs in turn; times in ms by name."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    end = time.perf_counter() + seconds
    while len(times[FLOOR]) < 5 or time.perf_counter() < end:
        for name, run in runs.items():
            sync()
            start = time.perf_counter()
            run()
            sync()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def measure(rois, classes, args):
    """Return rows of name, median, quartiles (ms) and memory / logits."""
    device = torch.device(args.device)
    runs = systems(rois, classes, device, args.compile)
    times = time_interleaved(runs, args.seconds, waiting(device))
    rows = []
    for name, run in runs.items():
        low, median, high = statistics.quantiles(times[name], n=4)
        memory = peak_memory(run, device) / (4 * rois * classes)
        rows.append((name, median, low, high, memory))
    return rows


def format_rows(rois, classes, rows):
    """Make a Markdown table, with ratios to the authors' formula."""
    base = next(row[1] for row in rows if row[0] == AUTHORS)
    lines = [
        f'\nR = {rois:,}, K = {classes:,}\n',
        '| loss | ms, median (quartiles) | / authors | peak memory / logits |',
        '|---|---|---|---|'
    ]
    for name, median, low, high, memory in rows:
        lines.append(f'| {name} | {median:.2f} ({low:.2f} to {high:.2f}) | '
                     f'{median / base:.2f} | {memory:.2f} |')
    return '\n'.join(lines)


def draw(results, path):
    """Draw time and memory against K on log axes, for the first R."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    rois = next(iter(results))[0]
    curves = {}
    for (r, classes), rows in results.items():
        for name, median, _, _, memory in rows if r == rois else []:
            curves.setdefault(name, []).append((classes, median, memory))
    figure, axes = plt.subplots(1, 2, figsize=(11, 5))
    for i, (name, points) in enumerate(curves.items()):
        k, time_ms, memory = zip(*sorted(points))
        style = dict(
            color='black' if name == FLOOR else f'C{i}',
            linestyle=':' if name == FLOOR else '-',
            linewidth=3 if name == OURS else 1.2,
            marker='o',
            markersize=4,
            label=name)
        axes[0].loglog(k, time_ms, **style)
        axes[1].loglog(k, memory, **style)
    axes[0].set_ylabel('forward + backward, ms (median)')
    axes[1].set_ylabel('peak extra memory / memory of the logits')
    for axis in axes:
        axis.set_xlabel(f'K, categories (R = {rois:,} RoIs)')
        axis.grid(which='both', alpha=0.2)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def measure_iteration(height, width, device):
    """Time iterations of the R50 config and, on their logits, the losses.

    Returns:
        Shape of the logits, ms of every iteration (forward, backward; no
        optimizer step), ms of the losses by name.
    """
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    # Or the host says how it starts every one of the parameters.
    MMLogger.get_current_instance().setLevel('WARNING')
    model = MODELS.build(cfg.model).to(device)
    model.init_weights()
    model.train()
    seen, times, sync = [], [], waiting(device)
    loss_cls = model.roi_head.bbox_head.loss_cls
    loss_cls.register_forward_pre_hook(lambda _, args: seen.append(args[:2]))
    for _ in range(4):
        data = demo_mm_inputs(
            2, [[3, height, width]] * 2, num_classes=1230, with_mask=True)
        sync()
        start = time.perf_counter()
        losses = model(**model.data_preprocessor(data, True), mode='loss')
        model.parse_losses(losses)[0].backward()
        sync()
        times.append(1e3 * (time.perf_counter() - start))
    logits, labels = (tensor.detach() for tensor in seen[-1])
    named = {
        OURS: lambda z: loss_cls(z, labels),
        AUTHORS: lambda z: authors_formula(z, labels, loss_cls.tail_mask)
    }
    runs = {k: _forward_backward(v, logits) for k, v in named.items()}
    runs[FLOOR] = lambda: logits.clone().mul_(2)
    return (tuple(logits.shape), times[1:], time_interleaved(runs, 3., sync))


def format_iteration(shape, iterations, losses):
    """Say how much of an iteration each loss takes."""
    whole = statistics.median(iterations)
    lines = [
        f'iteration: {whole:.0f} ms ({min(iterations):.0f} to '
        f'{max(iterations):.0f}), logits {shape}'
    ]
    for name, times in losses.items():
        median = statistics.median(times)
        lines.append(f'{name}: {median:.2f} ms, {median / whole:.3%}')
    return '\n'.join(lines)


def main(argv=None):
    """Measure every size, print tables, draw the curves if asked."""
    args = parse_args(argv)
    if args.plot and Path(args.plot).exists():
        raise FileExistsError(
            f'"{args.plot}" is already there; remove it or choose another')
    torch.set_num_threads(args.threads)
    print(f'torch {torch.__version__}, {platform.machine()}, '
          f'{args.device}, {args.threads} threads')
    if args.iteration:
        measured = measure_iteration(*args.iteration,
                                     torch.device(args.device))
        print(format_iteration(*measured))
        return
    results = {}
    for rois in args.rois:
        for classes in args.classes:
            rows = results[rois, classes] = measure(rois, classes, args)
            print(format_rows(rois, classes, rows), flush=True)
    if args.plot:
        draw(results, args.plot)


if __name__ == '__main__':
    main()
