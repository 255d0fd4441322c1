#!/usr/bin/env python
"""Time what follows the network at test time, beside MMDetection's own."""
import argparse
import platform
import statistics
import time
from collections import Counter
from pathlib import Path

import eql_mmdet  # noqa: F401

# isort: split

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.mask import encode_mask_results
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from peak_memory import peak_memory, waiting
from torch.profiler import ProfilerActivity, profile
from transfers import count_copies

CONFIG = Path(__file__).parents[2] / 'configs/eql_r50_fpn_1x_lvis.py'
TEST_CFG = ConfigDict(
    score_thr=1e-4,
    nms=dict(type='nms', iou_threshold=0.5),
    max_per_img=300,
    mask_thr_binary=0.5)
#: Mean, standard deviation and background of the logits; without background
#: they go through sigmoids. "peaks": each RoI is sure of one category.
SCORES = {
    'sigmoid, untrained': (-6.9, 0.3, None),
    'sigmoid, trained-like': (-7., 1.5, None),
    'softmax, trained-like': (0., 1.5, 8.),
    'softmax, peaks': (0., 1.5, 8.),
}
IMAGE = (800, 1333)
#: A metric is taken to read one mask of so many.
READ = 5
#: Operations for which an accelerator makes the host wait.
SYNCS = {
    'aten::nonzero', 'aten::_local_scalar_dense', 'aten::equal',
    'aten::repeat_interleave', 'aten::masked_select'
}


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--classes',
        type=int,
        nargs='*',
        default=[80, 1230, 13204],
        help='K for decoding and NMS')
    parser.add_argument(
        '--mask-classes',
        type=int,
        nargs='*',
        default=[1, 80, 1230],
        help='K for masks; 1 is class-agnostic')
    parser.add_argument('--rois', type=int, default=1000)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument(
        '--once-above',
        type=int,
        default=5000,
        help='with more classes the host runs once, on the first scores only, '
        'and nothing is compared')
    parser.add_argument(
        '--scenes',
        type=int,
        default=3,
        help='images of each kind to count differences from the host on')
    parser.add_argument(
        '--images',
        type=int,
        default=2,
        help='images to put through the whole R50 config, after a first')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[480, 640],
        help='height and width of the images and of the masks')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    return parser.parse_args(argv)


def draw_boxes(number, size, generator):
    """Draw boxes with log-normal sides, inside the image."""
    sides = torch.exp(torch.randn(number, 2, generator=generator) * 0.8 + 4.2)
    limit = torch.tensor(size[::-1])
    centres = torch.rand(number, 2, generator=generator) * limit
    boxes = torch.stack([centres - sides / 2, centres + sides / 2], 1)
    return boxes.clamp(min=0).minimum(limit).flatten(1)


def draw_scene(kind, classes, rois, seed, device):
    """Draw outputs of a box head: proposals around 30 objects, logits."""
    generator = torch.Generator().manual_seed(seed)
    mean, deviation, background = SCORES[kind]
    objects = draw_boxes(30, IMAGE, generator)
    owner = torch.randint(0, 30, (rois, ), generator=generator)
    boxes = objects[owner] + 6 * torch.randn(rois, 4, generator=generator)
    logits = torch.randn(
        rois, classes + (background is not None), generator=generator)
    logits = logits * deviation + mean
    if background is not None:
        logits[:, -1] += background
    if 'peaks' in kind:
        logits[torch.arange(rois), owner * 7 % classes] += 10
    deltas = torch.randn(rois, 4 * classes, generator=generator) * 0.5
    return dict(
        roi=F.pad(boxes, (1, 0)).to(device),
        cls_score=logits.to(device),
        bbox_pred=deltas.to(device),
        img_meta=dict(img_shape=IMAGE))


def box_head(name, classes, sigmoid, device, **kwargs):
    """Build a box head that only decodes."""
    loss = dict(type='CrossEntropyLoss')
    if sigmoid:
        loss = dict(
            type='CrossEntropyCustomLoss',
            use_sigmoid=True,
            num_classes=classes)
    head = dict(
        type=name,
        num_classes=classes,
        in_channels=1,
        fc_out_channels=1,
        roi_feat_size=1,
        loss_cls=loss,
        **kwargs)
    return MODELS.build(head).to(device)


def detect(head, scene):
    """Decode and suppress."""
    return head._predict_by_feat_single(**scene, rcnn_test_cfg=TEST_CFG)


def timed(run, sync):
    """Return ms of one run."""
    sync()
    start = time.perf_counter()
    run()
    sync()
    return 1e3 * (time.perf_counter() - start)


def interleave(runs, repeat, sync):
    """Repeat all runs in turn, after a first that is not counted."""
    times = {name: [] for name in runs}
    for i in range(repeat + 1):
        for name, run in runs.items():
            ms = timed(run, sync)
            if i:
                times[name].append(ms)
    return times


def spread(times):
    """Write the median and the range of times."""
    return (f'{statistics.median(times):,.1f} '
            f'({min(times):,.1f} to {max(times):,.1f})')


def ratio(slow, fast):
    """Write how many times faster the median is."""
    return f'{statistics.median(slow) / statistics.median(fast):,.0f} x'


def count_work(run):
    """Count operations, waits, and on CUDA kernel launches, of one run."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as record:
        run()
    names = Counter(event.name for event in record.events())
    return (sum(n for name, n in names.items() if name.startswith('aten::')),
            sum(names[name] for name in SYNCS), names['cudaLaunchKernel'],
            names['cudaStreamSynchronize'])


def rows_of(found):
    """Return detections as a set of exact rows."""
    columns = [found.bboxes, found.scores[:, None], found.labels[:, None]]
    return set(
        map(tuple,
            torch.cat([c.double() for c in columns], 1).tolist()))


def once(run, device, sync):
    """Return the most bytes at once and [ms] of a single run."""
    times = []
    memory = peak_memory(lambda: times.append(timed(run, sync)), device)
    return memory, times


def count_differences(ours, host, kind, args):
    """Count detections of ours that the host, which rounds, has not."""
    changed = total = 0
    for seed in range(args.scenes):
        scene = draw_scene(kind, ours.num_classes, args.rois, seed,
                           torch.device(args.device))
        found = rows_of(detect(ours, scene))
        changed += len(found - rows_of(detect(host, scene)))
        total += len(found)
    return f'{changed} of {total:,}'


def measure_boxes(kind, classes, args):
    """Return the cells of one row of the table of boxes."""
    device = torch.device(args.device)
    sync, sigmoid = waiting(device), 'sigmoid' in kind
    scene = draw_scene(kind, classes, args.rois, 0, device)
    ours = box_head('LargeVocabBBoxHead', classes, sigmoid, device)
    host = box_head('Shared2FCBBoxHead', classes, sigmoid, device)
    runs = {
        'ours':
        lambda: detect(ours, scene),
        'scores':
        lambda: host._predict_by_feat_single(**{
            **scene, 'bbox_pred': None
        })
    }
    memory = peak_memory(runs['ours'], device)
    work = count_work(runs['ours'])
    differ = '-'
    if classes <= args.once_above:
        differ = count_differences(ours, host, kind, args)
        runs['host'] = lambda: detect(host, scene)
        more = peak_memory(runs['host'], device)
        times = interleave(runs, args.repeat, sync)
    else:
        times, more = interleave(runs, args.repeat, sync), None
        if kind == next(iter(SCORES)):
            more, times['host'] = once(lambda: detect(host, scene), device,
                                       sync)
    return [
        f'{classes:,}', kind,
        spread(times['host']) if more else '-',
        spread(times['ours']),
        spread(times['scores']),
        ratio(times['host'], times['ours']) if more else '-',
        f'{more / 2**20:,.0f}' if more else '-', f'{memory / 2**20:,.1f}',
        f'{more / memory:,.0f} x' if more else '-', differ,
        *map(str, work if device.type == 'cuda' else work[:2])
    ]


def mask_head(name, classes, device, **kwargs):
    """Build a mask head that only pastes."""
    head = MODELS.build(
        dict(
            type=name,
            num_convs=0,
            in_channels=1,
            conv_out_channels=1,
            num_classes=classes,
            class_agnostic=classes == 1,
            **kwargs))
    return head.to(device)


def measure_masks(classes, args):
    """Return the cells of one row of the table of masks."""
    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(0)
    number = TEST_CFG.max_per_img
    boxes = draw_boxes(number, args.size, generator).to(device)
    blobs = torch.randn(number, classes, 4, 4, generator=generator) * 2
    logits = F.interpolate(blobs, (28, 28), mode='bilinear').to(device)
    labels = torch.randint(0, classes, (number, ), generator=generator)
    labels = labels.to(device)
    meta = dict(ori_shape=tuple(args.size), scale_factor=(1., 1.))

    def paste(name, **kwargs):
        head = mask_head(name, classes, device, **kwargs)
        return lambda: head._predict_by_feat_single(logits, boxes.clone(),
                                                    labels, meta, TEST_CFG)

    host, ours = paste('FCNMaskHead'), paste('LargeVocabMaskHead', rle=True)
    bitmaps = host()
    runs = {
        'host': host,
        'encode': lambda: encode_mask_results(bitmaps.cpu().numpy()),
        'bitmaps': paste('LargeVocabMaskHead'),
        'rle': lambda: ours().rles,
        'part': lambda: ours()[::READ].rles
    }
    changed = sum(a['counts'] != b['counts']
                  for a, b in zip(runs['rle'](), runs['encode']()))
    memory = {
        name: peak_memory(runs[name], device)
        for name in ('host', 'rle')
    }
    copies = [count_copies(runs[name]) for name in ('encode', 'rle', 'part')]
    times = interleave(runs, args.repeat, waiting(device))
    both = [a + b for a, b in zip(times['host'], times['encode'])]
    return [
        f'{classes:,}', *map(spread, times.values()),
        ratio(times['host'], times['bitmaps']),
        f'{statistics.median(both) / statistics.median(times["rle"]):.1f} x',
        f'{memory["host"] / 2**20:,.0f}', f'{memory["rle"] / 2**20:,.1f}',
        ', '.join(f'{n}: {size / 2**20:.2f}'
                  for n, size in copies), f'{changed} of {number}'
    ]


def build_models(device):
    """Build the R50 config twice with equal weights: ours, the host's."""
    models = {}
    for name in ('ours', 'host'):
        cfg = Config.fromfile(CONFIG).model
        cfg.backbone.init_cfg = None
        if name == 'host':
            cfg.roi_head.bbox_head.update(
                type='ConvFCBBoxHead', num_shared_fcs=2)
            cfg.roi_head.mask_head.update(type='FCNMaskHead')
            for ours in ('rle', 'predictor_std'):
                cfg.roi_head.mask_head.pop(ours)
        models[name] = MODELS.build(cfg).eval().to(device)
    models['ours'].init_weights()
    models['host'].load_state_dict(models['ours'].state_dict())
    return models


def measure_images(args):
    """Time whole images, masks encoded; ms an image by name."""
    device = torch.device(args.device)
    models = build_models(device)
    data = demo_mm_inputs(1, [[3, *args.size]], num_classes=1230)

    def run(name):
        batch = models[name].data_preprocessor(data, False)
        found = models[name](**batch, mode='predict')[0].pred_instances
        if name == 'host':
            encode_mask_results(found.masks.cpu().numpy())
        else:
            found.masks.cpu()

    runs = {name: lambda name=name: run(name) for name in models}
    return interleave(runs, args.images, waiting(device))


def print_table(head, rows):
    """Print Markdown, row by row as they come."""
    print('\n| ' + ' | '.join(head) + ' |\n|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |', flush=True)


@torch.no_grad()
def main(argv=None):
    """Measure boxes, masks and whole images, and print tables."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    init_default_scope('mmdet')
    MMLogger.get_instance('bench_inference', log_level='ERROR')
    print(f'torch {torch.__version__}, {platform.machine()}, {args.device}, '
          f'{args.threads} threads; median (range) of {args.repeat} in ms')
    head = [
        'K', 'scores', 'host', 'ours', 'of it scores', 'host / ours',
        'host, MB', 'ours, MB', 'host / ours', 'differ', 'operations', 'waits'
    ]
    if args.device != 'cpu':
        head += ['launches', 'synchronizations']
    print_table(head, (measure_boxes(kind, classes, args)
                       for classes in args.classes for kind in SCORES))
    print_table([
        'K of masks', 'host: paste', 'host: encode', 'ours: bitmaps',
        'ours: RLE', f'ours: RLE, 1 of {READ} read', 'bitmaps',
        'paste + encode', 'host, MB', 'ours, MB',
        'copies, MB: host, RLE, read', 'other bytes'
    ], (measure_masks(classes, args) for classes in args.mask_classes))
    if args.images:
        times = measure_images(args)
        print_table(
            ['R50 config', 'ms an image', 'images / s'],
            ([name,
              spread(value), f'{1e3 / statistics.median(value):.3f}']
             for name, value in times.items()))


if __name__ == '__main__':
    main()
