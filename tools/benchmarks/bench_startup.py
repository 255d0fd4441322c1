#!/usr/bin/env python
"""Compare how data sets start: the host's LVISV05Dataset and ours.

Every run is a process of its own on the same synthetic LVIS file, which is
written if it is missing: until the data set is filtered and
RepeatFactorSampler knows its repeat factors. Then what ranks and workers
add: processes that build the data set at once, and workers of a DataLoader
that read images, each in memory that it shares with nobody.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SYSTEMS = dict(host='LVISV05Dataset', ours='LVISFormatDataset')
HEIGHT, WIDTH, CATEGORIES = 480, 640, 1230
READ = 200


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='of the annotation file')
    parser.add_argument('--images', type=int, default=57_000)
    parser.add_argument('--objects', type=int, default=557_000)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument(
        '--ranks', type=int, default=8, help='processes at once (ours)')
    parser.add_argument(
        '--workers', type=int, default=8, help='of a DataLoader (ours)')
    parser.add_argument('--measure', choices=tuple(SYSTEMS))
    return parser.parse_args(argv)


def write_annotations(path, images, objects):
    """Write an LVIS file: federated, ellipses as polygons; ~0.7 kB each."""
    rng = np.random.default_rng(0)
    category = np.minimum(
        (rng.pareto(0.6, objects) * 3).astype(int), CATEGORIES - 1) + 1
    image = rng.integers(1, images + 1, objects)
    size = rng.uniform(10, 150, (objects, 2))
    corner = rng.uniform(0, 1, (objects, 2)) * ((WIDTH, HEIGHT) - size)
    content = dict(
        images=[
            dict(
                id=i,
                file_name=f'COCO_train2014_{i:012d}.jpg',
                height=HEIGHT,
                width=WIDTH,
                neg_category_ids=rng.integers(1, CATEGORIES + 1, 8).tolist(),
                not_exhaustive_category_ids=[],
                coco_url='http://images.cocodataset.org/x.jpg',
                date_captured='2013-11-14 17:02:52')
            for i in range(1, images + 1)
        ],
        categories=[
            dict(id=k, name=f'category {k}', frequency='rcf'[k % 3])
            for k in range(1, CATEGORIES + 1)
        ])
    with open(path, 'w') as file:
        file.write(json.dumps(content)[:-1] + ', "annotations": [')
        for i, points in enumerate(rng.integers(8, 62, objects).tolist()):
            angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
            circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            polygon = corner[i] + size[i] / 2 * (1 + circle)
            item = dict(
                id=i + 1,
                image_id=int(image[i]),
                category_id=int(category[i]),
                bbox=np.concatenate([corner[i], size[i]]).round(2).tolist(),
                area=round(float(size[i].prod()) * 0.78, 2),
                segmentation=[polygon.ravel().round(2).tolist()])
            file.write((', ' if i else '') + json.dumps(item))
        file.write(']}')


def memory(field, file='status'):
    """Read a field of this process in MB."""
    text = Path(f'/proc/self/{file}').read_text()
    return sum(
        int(line.split()[1])
        for line in text.splitlines() if line.startswith(field)) / 1024


def private():
    """Memory that no other process has a part in, in MB."""
    return memory('Private_', 'smaps_rollup')


def measure(path, system, workers):
    """Build a data set and its sampler; return times and memory."""
    from mmdet.registry import DATA_SAMPLERS, DATASETS

    import eql_mmdet  # noqa: F401
    before, own = memory('VmRSS'), private()
    wall, cpu = time.perf_counter(), time.process_time()
    dataset = DATASETS.build(
        dict(
            type=SYSTEMS[system],
            ann_file=path,
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[]))
    DATA_SAMPLERS.build(
        dict(
            type='RepeatFactorSampler',
            dataset=dataset,
            repeat_threshold=5e-4,
            seed=0))
    found = dict(
        wall=time.perf_counter() - wall,
        cpu=time.process_time() - cpu,
        length=len(dataset),
        peak=memory('VmHWM'),
        peak_above=memory('VmHWM') - before,
        kept=private() - own)
    start = time.perf_counter()
    for index in range(READ):
        dataset.get_data_info(index)
    found['image_ms'] = 1000 * (time.perf_counter() - start) / READ
    if workers:
        found['worker'] = worker_memory(dataset, workers)
    return found


def worker_memory(dataset, workers):
    """MB that a worker has for itself after it has read its images."""
    from torch.utils.data import DataLoader
    loader = DataLoader(
        dataset,
        batch_size=READ,
        num_workers=workers,
        collate_fn=lambda batch: private())
    values = [value for value, _ in zip(loader, range(workers))]
    return statistics.median(values)


def run(args, system, workers=0, count=1):
    """Measure in ``count`` processes at once."""
    command = [
        sys.executable, __file__, args.folder, '--measure', system,
        '--workers',
        str(workers)
    ]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    outputs = [process.communicate()[0] for process in started]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def main(argv=None):
    """Print the table."""
    args = parse_args(argv)
    path = Path(args.folder) / 'startup.json'
    if args.measure:
        print(json.dumps(measure(str(path), args.measure, args.workers)))
        return
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_annotations(path, args.images, args.objects)
    print(f'{platform.machine()}, {os.cpu_count()} cores, Python '
          f'{platform.python_version()}; {path.stat().st_size / 1e6:.0f} MB, '
          f'median of {args.runs} runs in turn\n')
    found = {system: [] for system in SYSTEMS}
    for _ in range(args.runs):
        for system, runs in found.items():
            runs.extend(run(args, system))
    print_table(found)
    ranks = run(args, 'ours', count=args.ranks)
    worker = run(args, 'ours', workers=args.workers)[0]['worker']
    kept = statistics.median(item['kept'] for item in ranks)
    print(f'\n{args.ranks} ranks of ours at once keep {kept:.0f} MB each for '
          f'themselves; a worker of {args.workers} has {worker:.0f} MB of its '
          f'own after {READ} images, most of it the interpreter\'s')


def print_table(found):
    """Print medians of both systems and our share of the host's."""
    heads = dict(
        wall='time, s',
        cpu='CPU time, s',
        peak='peak memory, MB',
        peak_above='peak above imports, MB',
        kept='kept, MB',
        image_ms='an image, ms',
        length='images')
    median = {
        system: {
            key: statistics.median(r[key] for r in runs)
            for key in heads
        }
        for system, runs in found.items()
    }
    print('| | host | ours | ours / host |\n|---|---:|---:|---:|')
    for key, head in heads.items():
        host, ours = (median[system][key] for system in SYSTEMS)
        print(f'| {head} | {host:.4g} | {ours:.4g} | {ours / host:.3f} |')


if __name__ == '__main__':
    main()
