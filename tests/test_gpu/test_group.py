"""The tests for a GPU, where there is none: that they hold and can fail."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_processes import run_script

HERE = Path(__file__).parent
#: Without those that start tools, which the other tests do on the CPU.
BODIES = ['-k', 'losses_on_gpu or heads_on_gpu or operators_on_gpu or a_step']
#: In one precision, and the operators that a user gets.
FEW_BODIES = [
    '-k', 'losses_on_gpu and float32 or heads_on_gpu or a_step or '
    'operators_on_gpu and installed'
]


@pytest.fixture
def run(tmp_path):
    """Run the group for a device; numbers by outcome, and what it prints."""

    def run(device, *options):
        env = {k: v for k, v in os.environ.items() if k != 'EQL_TEST_DEVICE'}
        if device:
            env['EQL_TEST_DEVICE'] = device
        output = tmp_path / 'output.txt'
        options = '-v -m gpu -p no:cacheprovider --tb=line'.split() + [
            *options, str(HERE)
        ]
        run_script(
            Path(pytest.__file__).with_name('__main__.py'), options,
            HERE.parents[1], env, output)
        text = output.read_text()
        last = text.strip().splitlines()[-1]
        found = re.findall(r'(\d+) (passed|failed|skipped|error)', last)
        return {word: int(number) for number, word in found}, text

    return run


@pytest.mark.parametrize('bodies', [
    FEW_BODIES,
    pytest.param(BODIES, marks=pytest.mark.slow),
])
def test_bodies_hold_on_the_cpu(run, bodies):
    found, output = run('cpu', *bodies)
    # --amp alone has no meaning there.
    assert found.pop('skipped') == 1, output
    assert found.keys() == {'passed'} and found['passed'] > 25, output


@pytest.mark.slow
def test_bodies_fail_on_a_device_that_gives_nothing_back(run):
    found, output = run('meta', *BODIES)
    assert found.keys() == {'failed'} and found['failed'] > 25, output


@pytest.mark.slow
def test_without_a_gpu_they_are_skipped(run):
    found, output = run(None)
    assert found.keys() == {'skipped'} and found['skipped'] > 25, output


def test_the_other_tests_see_no_gpu():
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''


def test_make_says_in_one_sentence_that_there_is_no_gpu():
    done = subprocess.run([
        'make', '-s', '-o', 'env', 'test-gpu',
        f'BIN={Path(sys.executable).parent}'
    ],
                          cwd=HERE.parents[1],
                          stdout=subprocess.PIPE,
                          text=True)
    assert done.returncode == 0
    assert done.stdout == 'torch finds no GPU here, so nothing was tested\n'


def test_make_compares_a_gpu_with_the_authors_code_at_last(tmp_path):
    """As if there were one: a python that only says what it is asked."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ['make', '-s', '-o', 'env', 'test-gpu', f'BIN={tmp_path}'],
        cwd=HERE.parents[1],
        stdout=subprocess.PIPE,
        text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == [
        '-m pytest -m gpu', 'tools/check_parity.py --device cuda'
    ]
