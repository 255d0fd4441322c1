#!/usr/bin/env python
"""Compare how data sets start: MMDetection's LVISV05Dataset, and ours.

Each run is a process of its own on the same file, which
make_startup_input.py writes; the systems take turns. "Ready" is a data set
without empty images and a RepeatFactorSampler on it. Images are not needed.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_evaluation import Memory, machine
from make_startup_input import main as write_input

SYSTEMS = dict(host='LVISV05Dataset', ours='LVISFormatDataset')
#: What is measured, and how it is called; all are better when smaller.
ROWS = dict(
    wall='time until ready, s',
    cpu='CPU time until ready, s',
    peak='peak memory, MB',
    above='peak memory above the imports, MB',
    rank='a rank holds when ready, MB',
    ranks='all ranks hold, MB',
    worker='a worker adds, MB',
    workers='all workers add, MB',
    info='get_data_info, ms an image')


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        'folder', help='its train.json is written if it is not there')
    parser.add_argument('--images', type=int, default=57_000)
    parser.add_argument('--objects', type=int, default=557_000)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--ranks', type=int, default=8)
    parser.add_argument('--workers', type=int, default=8)
    parser.add_argument(
        '--worker-images', type=int, default=200, help='each worker reads')
    parser.add_argument('--info-images', type=int, default=2000)
    parser.add_argument('--job', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None):
    """Write the input, run the systems in turn, print the table."""
    args = parse_args(argv)
    if args.job:
        print(json.dumps(JOBS[args.job[0]](args, args.job[1])), flush=True)
        return
    path = ann_file(args)
    if not path.exists():
        write_input([
            str(path), '--images',
            str(args.images), '--objects',
            str(args.objects)
        ])
    size = len(path.read_bytes())  # from here on the system has it in memory
    print(
        f'{machine()}, load {os.getloadavg()[0]:.1f}\n{size / 1e6:.0f} MB, '
        f'{args.images} images, {args.objects} objects, {args.repeats} '
        f'times; {args.ranks} ranks, {args.workers} workers with '
        f'{args.worker_images} images each',
        flush=True)
    print(table(measure(args)))


def ann_file(args):
    """Name the annotation file."""
    return Path(args.folder) / 'train.json'


def measure(args):
    """Run every job of every system."""
    found = {system: {} for system in SYSTEMS}
    runs = {system: [] for system in SYSTEMS}
    for _ in range(args.repeats):
        for system in SYSTEMS:
            runs[system].append(finish(start(args, 'begin', system)))
    for system, rows in runs.items():
        for key in rows[0]:
            found[system][key] = [row[key] for row in rows]
        workers = finish(start(args, 'workers', system))
        found[system]['worker'] = workers
        found[system]['workers'] = [sum(workers)]
        held = ranks(args, system, max(found[system]['peak']))
        found[system]['rank'] = held
        found[system]['ranks'] = [args.ranks * statistics.mean(held)]
    return found


def start(args, job, system):
    """Start a job in a process of its own."""
    options = ('folder', 'workers', 'worker_images', 'info_images')
    folder, *numbers = (str(getattr(args, name)) for name in options)
    command = [sys.executable, __file__, folder, '--job', job, system]
    for name, number in zip(options[1:], numbers):
        command += [f'--{name.replace("_", "-")}', number]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process):
    """Wait for a job and return what it reports."""
    shown, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f'{process.args} failed:\n{shown}')
    return json.loads(shown.splitlines()[-1])


def ranks(args, system, peak):
    """Let ranks be ready side by side and read what each has for itself.

    They start one after another, and no more of them than the machine has
    memory for.
    """
    free = Path('/proc/meminfo').read_text().split('MemAvailable:')[1]
    number = min(args.ranks, int(int(free.split()[0]) / 1024 * .7 // peak))
    processes = []
    for _ in range(max(number, 1)):
        process = start(args, 'rank', system)
        while process.stdout.readline() not in ('ready\n', ''):
            pass
        processes.append(process)
    if number < args.ranks:
        print(
            f'{SYSTEMS[system]}: no memory for more than {number} ranks; '
            f'the others are taken to be alike',
            flush=True)
    # Each measures when it is spoken to, and goes when its input ends.
    held = []
    for process in processes:
        process.stdin.write('\n')
        process.stdin.flush()
        held.append(float(process.stdout.readline()))
    for process in processes:
        finish(process)
    return held


def table(found):
    """Write medians with the least and the most, and ours over the host's."""
    lines = [
        f'| | {" | ".join(SYSTEMS.values())} | ours / host |',
        '|---|---:|---:|---:|'
    ]
    for key, name in ROWS.items():
        middle = [statistics.median(found[s][key]) for s in SYSTEMS]
        cells = [cell(found[system][key]) for system in SYSTEMS]
        ratio = middle[1] / middle[0] if middle[0] > 0 else float('nan')
        lines.append(f'| {name} | {" | ".join(cells)} | {ratio:.3f} |')
    return '\n'.join(lines)


def cell(values):
    """Write a median, and the range if there is one."""
    low, middle, high = (f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'
                         for value in (min(values), statistics.median(values),
                                       max(values)))
    return middle if low == high else f'{middle} ({low} to {high})'


def load():
    """Import what a training imports."""
    import eql_mmdet  # noqa: F401

    # isort: split
    # Only now: the package puts operators where MMCV was not compiled.
    import mmdet.datasets  # noqa: F401
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    MMLogger.get_instance('bench', log_level='ERROR')


def build(args, system):
    """Build the data set and the sampler as a runner does."""
    from mmdet.registry import DATA_SAMPLERS, DATASETS
    dataset = DATASETS.build(
        dict(
            type=SYSTEMS[system],
            ann_file=str(ann_file(args)),
            data_prefix=dict(img='train2017/'),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[]))
    sampler = DATA_SAMPLERS.build(
        dict(
            type='RepeatFactorSampler',
            repeat_threshold=1e-3,
            seed=0,
            dataset=dataset))
    return dataset, sampler


def begin(args, system):
    """Measure a start, and what it costs to describe an image."""
    load()
    imports = Memory.read('VmRSS')
    Memory.reset()
    wall, cpu = time.perf_counter(), time.process_time()
    dataset, sampler = build(args, system)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = Memory.read('VmHWM')
    chosen = random.Random(0).choices(range(len(dataset)), k=args.info_images)
    clock = time.perf_counter()
    for index in chosen:
        dataset.get_data_info(index)
    info = (time.perf_counter() - clock) / len(chosen) * 1000
    return dict(wall=wall, cpu=cpu, peak=peak, above=peak - imports, info=info)


def rank(args, system):
    """Be ready; tell the memory of this process when spoken to."""
    load()
    before = private()
    ready = build(args, system)
    print('ready', flush=True)
    sys.stdin.readline()
    print(private() - before, flush=True)
    sys.stdin.read()
    return len(ready)


def workers(args, system):
    """Measure forked workers that have read images, beside idle ones."""
    load()
    idle = worker_memory(args, Nothing())
    dataset, _ = build(args, system)
    busy = worker_memory(args, dataset)
    base = statistics.median(idle)
    return [memory - base for memory in busy]


class Nothing:
    """A data set that holds nothing and gives nothing."""

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        return index


def worker_memory(args, dataset):
    """Let each worker read its images; what each has for itself then."""
    from torch.utils.data import DataLoader
    order = random.Random(0)
    batches = [
        order.choices(range(len(dataset)), k=args.worker_images)
        for _ in range(args.workers)
    ]
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=args.workers,
        multiprocessing_context='fork',
        persistent_workers=True,
        collate_fn=worker_pid)
    iterator = iter(loader)
    pids = set(iterator)
    found = [private(pid) for pid in sorted(pids)]
    del iterator, loader
    return found


def worker_pid(items):
    """Forget the items, and tell who read them."""
    return os.getpid()


def private(pid='self'):
    """Memory that a process shares with no other, in MB."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(
        int(line.split()[1])
        for line in lines if line.startswith('Private_')) / 1024


JOBS = dict(begin=begin, rank=rank, workers=workers)

if __name__ == '__main__':
    main()
