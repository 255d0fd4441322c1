#!/usr/bin/env python
"""Compare LVIS evaluators: lvis, MMDetection's metric, and ours.

Every run is a process of its own on the same input, which
make_bench_input.py writes. ``process`` is timed on a few images with real
masks, ``compute_metrics`` on all of them.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_utils

HEIGHT, WIDTH = 480, 640
SYSTEMS = ('hotcoco', 'ours_lvis', 'mmdet', 'lvis')
NAMES = dict(
    hotcoco='ours, engine hotcoco',
    ours_lvis='ours, engine lvis',
    mmdet="MMDetection's LVISMetric",
    lvis='official lvis')


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        'input_dir', help='folder; its input is written if it is not there')
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=300)
    parser.add_argument('--categories', type=int, default=1230)
    parser.add_argument(
        '--process-images',
        type=int,
        default=20,
        help='images with real masks to time process on')
    parser.add_argument(
        '--systems', nargs='+', default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument(
        '--metrics',
        nargs='+',
        default=('bbox', 'segm'),
        choices=('bbox', 'segm'))
    parser.add_argument('--job', nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None):
    """Write the input, run every system, print the table."""
    args = parse_args(argv)
    if args.job:
        print(json.dumps(JOBS[args.job[0]](args, *args.job[1:])))
        return
    print(machine())
    print(
        f'{args.images} images x {args.detections} detections x '
        f'{args.categories} categories',
        flush=True)
    if not Path(args.input_dir).exists():
        write_input(args)
    for metric in args.metrics:
        report(args, metric)


def write_input(args):
    """Write the input in a process of its own."""
    options = [('--images', args.images), ('--detections', args.detections),
               ('--categories', args.categories)]
    subprocess.run([
        sys.executable,
        str(Path(__file__).parent / 'make_bench_input.py'), args.input_dir,
        *(str(item) for option in options for item in option)
    ],
                   check=True)


def machine():
    """Name processor, cores and versions."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    model = [line.split(':')[1] for line in lines if 'model name' in line]
    return (f'{(model or [platform.processor()])[0].strip()}, '
            f'{os.cpu_count()} cores, Python {platform.python_version()}, '
            f'numpy {np.__version__}')


def report(args, metric):
    """Run all systems on one metric and print a table with ratios."""
    print(f'\n| {metric} | process, ms an image | results held, MB | '
          f'compute_metrics, s | peak, MB | above imports, MB | AP |')
    print('|---|---:|---:|---:|---:|---:|---:|', flush=True)
    rows = {}
    for system in args.systems:
        row = run_job(args, 'compute', system, metric)
        row['process'] = None
        if system in ('hotcoco', 'mmdet'):
            row.update(run_job(args, 'process', system, metric))
        rows[system] = row
        cells = [
            '-' if value is None else f'{value:.1f}'
            for value in (row['process'], row['held'], row['time'],
                          row['peak'], row['above'])
        ]
        print(
            f'| {NAMES[system]} | {" | ".join(cells)} | {row["AP"]!r} |',
            flush=True)
    if {'hotcoco', 'mmdet'} <= set(rows):
        ours, host = rows['hotcoco'], rows['mmdet']
        ratios = {key: host[key] / ours[key] for key in ours if key != 'AP'}
        print(
            f'\n{metric}, MMDetection / ours: process '
            f'{ratios["process"]:.1f} x, compute_metrics '
            f'{ratios["time"]:.1f} x, peak memory {ratios["peak"]:.1f} x '
            f'({ratios["above"]:.1f} x above the imports)',
            flush=True)


def run_job(args, job, system, metric):
    """Run a job in a process of its own and return what it reports."""
    command = [
        sys.executable, __file__, args.input_dir, '--process-images',
        str(args.process_images), '--job', job, system, metric
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f'{job} {system} {metric} failed:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def predictions(args, with_masks):
    """Yield image id, boxes, scores, labels and RLE dicts."""
    saved = np.load(Path(args.input_dir) / 'detections.npz')
    columns = {name: saved[name] for name in ('boxes', 'scores', 'labels')}
    ends = np.cumsum(saved['lengths'])
    rle = saved['rle'].tobytes() if with_masks else b''
    ann_file = Path(args.input_dir) / 'annotations.json'
    images = len(json.loads(ann_file.read_text())['images'])
    number = len(ends) // images
    for i in range(images):
        rows = slice(i * number, (i + 1) * number)
        masks = None
        if with_masks:
            spans = zip(ends[rows] - saved['lengths'][rows], ends[rows])
            masks = [
                dict(size=[HEIGHT, WIDTH], counts=rle[a:b]) for a, b in spans
            ]
        yield (i + 1, *(column[rows] for column in columns.values()), masks)


class Memory:
    """Memory of this process in MB: now, and the highest since a start."""

    @staticmethod
    def read(field):
        """Read a field of /proc/self/status."""
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f'/proc/self/status has no {field}')

    @staticmethod
    def reset():
        """Forget the highest value."""
        Path('/proc/self/clear_refs').write_text('5')


def build(system, metric, ann_file):
    """Build a metric as a config does."""
    import eql_mmdet  # isort: skip # noqa: F401, sets how torch waits
    import mmdet.evaluation  # noqa: F401
    from mmdet.registry import METRICS
    from mmengine.logging import MMLogger
    MMLogger.get_instance('bench', log_level='ERROR')
    config = dict(type='LVISMetric', ann_file=ann_file, metric=metric)
    if system != 'mmdet':
        engine = dict(hotcoco='hotcoco', ours_lvis='lvis')[system]
        config.update(type='LVISEvalMetric', engine=engine)
    return METRICS.build(config)


def compute(args, system, metric):
    """Fill in what process would have left, then time compute_metrics."""
    ann_file = str(Path(args.input_dir) / 'annotations.json')
    import eql_mmdet  # noqa: F401
    imports = Memory.read('VmRSS')
    if system == 'lvis':
        return compute_official(args, metric, ann_file, imports)
    evaluator = build(system, metric, ann_file)
    before = Memory.read('VmRSS')
    for item in predictions(args, metric == 'segm'):
        image_id, boxes, scores, labels, masks = item
        pred = dict(bboxes=boxes, scores=scores, labels=labels)
        if masks is not None:
            pred['masks'] = masks
        if system == 'mmdet':
            ground_truth = dict(width=WIDTH, height=HEIGHT, img_id=image_id)
            result = dict(pred, img_id=image_id)
            evaluator.results.append((ground_truth, result))
        else:
            sample = dict(img_id=image_id, pred_instances=pred)
            evaluator.process(None, [sample])
    held = Memory.read('VmRSS') - before
    Memory.reset()
    start = time.perf_counter()
    values = evaluator.compute_metrics(evaluator.results)
    return measured(start, held, imports, values[f'{metric}_AP'])


def compute_official(args, metric, ann_file, imports):
    """Time lvis alone: results in a list of dicts, ground truth loaded."""
    import lvis
    ground_truth = lvis.LVIS(ann_file)
    before = Memory.read('VmRSS')
    items = []
    for image_id, *columns, masks in predictions(args, metric == 'segm'):
        for row, (box, score, label) in enumerate(zip(*columns)):
            item = dict(
                image_id=image_id,
                score=float(score),
                category_id=int(label) + 1)
            x1, y1, x2, y2 = box.tolist()
            if metric == 'segm':
                item['segmentation'] = masks[row]
            else:
                item['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            items.append(item)
    held = Memory.read('VmRSS') - before
    Memory.reset()
    start = time.perf_counter()
    results = lvis.LVISResults(ground_truth, items)
    evaluator = lvis.LVISEval(ground_truth, results, metric)
    evaluator.run()
    return measured(start, held, imports, float(evaluator.results['AP']))


def measured(start, held, imports, average_precision):
    """Collect the numbers of a finished evaluation."""
    seconds, peak = time.perf_counter() - start, Memory.read('VmHWM')
    return dict(
        time=seconds,
        held=held,
        peak=peak,
        above=peak - imports,
        AP=average_precision)


def process(args, system, metric):
    """Time process on real tensors, an image at a time as when testing."""
    import eql_mmdet  # isort: skip # noqa: F401, sets how torch waits
    import torch
    torch.set_num_threads(1)
    evaluator = build(system, metric,
                      str(Path(args.input_dir) / 'annotations.json'))
    times = []
    for item in predictions(args, metric == 'segm'):
        image_id, boxes, scores, labels, masks = item
        pred = dict(
            bboxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(scores),
            labels=torch.from_numpy(labels))
        if masks is not None:
            stack = mask_utils.decode(masks).transpose(2, 0, 1)
            pred['masks'] = torch.from_numpy(stack.copy()).bool()
        sample = dict(
            img_id=image_id, ori_shape=(HEIGHT, WIDTH), pred_instances=pred)
        start = time.perf_counter()
        evaluator.process(None, [sample])
        times.append(time.perf_counter() - start)
        if len(times) == args.process_images:
            break
    return dict(process=1000 * float(np.median(times)))


JOBS = dict(compute=compute, process=process)

if __name__ == '__main__':
    main()
