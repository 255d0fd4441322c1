#!/usr/bin/env python
"""Compare this device with what the authors' code recorded on a CPU.

A self-test for a new GPU, torch or operator stack, of about a minute and
without downloads. Exit status 1 if something differs.
"""
import argparse
import contextlib
import logging
import sys
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
import mmcv
import mmdet
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger

from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.ops import describe_operators

ORACLE = Path(__file__).resolve().parents[1] / 'tests/oracle'
#: Of the tolerances, which are those of a CPU, on any other device. Not yet
#: measured on one.
FACTOR = 10
LINE = '| {:50} | {:10} | {:>8} | {:>8} | {:7} |'


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='docs/install.md says more.')
    parser.add_argument(
        '--device',
        default=get_device(),
        help='of torch: cpu, cuda, cuda:1 ... (default: %(default)s)')
    return parser.parse_args(argv)


def pick_device(name):
    """Return a device of torch that computes, or refuse it."""
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    # CUDA that was not compiled in is an AssertionError.
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'--device must be one that torch can use here, such '
                         f'as cpu, but got {name}: {reason}') from error
    return device


def find_rows():
    """Import the comparisons from the tests, which a clone has."""
    if not (ORACLE / 'oracle_rows.py').is_file():
        raise FileNotFoundError(
            'tests/oracle is missing beside tools: the recorded outputs come '
            'with a clone of the repository, not with the package')
    if str(ORACLE) not in sys.path:
        sys.path.insert(0, str(ORACLE))
    import oracle_rows
    return oracle_rows.list_rows


@contextlib.contextmanager
def whole_float32():
    """Keep torch from rounding float32 to TF32 on a GPU."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = False
        yield
    finally:
        for place, value in zip(places, before):
            place.allow_tf32 = value


@contextlib.contextmanager
def quiet_host():
    """Keep what a model logs out of the table."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def describe(device):
    """Name device and versions, one fact a line."""
    name = str(device)
    if device.type == 'cuda':
        name += f', {torch.cuda.get_device_name(device)}, without TF32'
    yield f'device: {name}'
    yield (f'versions: torch {torch.__version__}, mmcv {mmcv.__version__}, '
           f'mmdet {mmdet.__version__}')
    yield f'RoIAlign and NMS: {describe_operators(device.type)}'
    if device.type != 'cpu':
        yield (f'tolerances: {FACTOR} times those of a CPU, but for what must '
               f'be equal and for boxes without a partner; that factor was '
               f'not yet measured on any GPU')


def print_rows(rows):
    """Print rows as they come; return how many, and those that fail."""
    print('\n' + LINE.format('compared', 'unit', 'seen', 'allowed', ''))
    print(LINE.format('---', '---', '---:', '---:', '---'))
    number, failed = 0, []
    for number, row in enumerate(rows, 1):
        word = 'holds' if row.holds else 'FAILS'
        print(
            LINE.format(row.what, row.unit, in_short(row.seen),
                        in_short(row.allowed), word),
            flush=True)
        if not row.holds:
            failed.append(row.what)
    return number, failed


def in_short(value):
    """Write two digits, but counts in full."""
    return f'{value:.2g}' if value < 1 else f'{value:g}'


@one_line_refusals('check_parity')
def main(argv=None):
    """Print what was compared with what, a table and a verdict."""
    device = pick_device(parse_args(argv).device)
    list_rows = find_rows()
    factor = 1 if device.type == 'cpu' else FACTOR
    with whole_float32(), quiet_host():
        print('\n'.join(describe(device)))
        number, failed = print_rows(list_rows(device, factor))
    if failed:
        print(f'\n{len(failed)} of {number} fail: {"; ".join(failed)}')
        return 1
    print(f"\nall {number} hold: {device} gives what the authors' code gave")
    return 0


if __name__ == '__main__':
    sys.exit(main())
