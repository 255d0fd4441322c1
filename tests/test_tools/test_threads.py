"""Idle threads of torch sleep, unless the user wants them to spin."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted(
    path for folder in ('tools', 'tools/benchmarks')
    for path in (ROOT / folder).glob('*.py')
    if 'argparse' in path.read_text() or 'run_host_tool' in path.read_text())
#: It loads torch in its jobs, which the others do when they are imported.
ARGUMENTS = dict(bench_evaluation=['none', '--job', 'process', 'lvis', 'bbox'])
#: They have no use for torch themselves.
WITHOUT_TORCH = ('bench_startup', 'make_bench_input', 'make_startup_input')
#: Runs a tool up to the moment when torch is looked for.
UP_TO_TORCH = '''
import os, runpy, sys

class Watch:
    def find_spec(name, path=None, target=None):
        if name == 'torch':
            print('torch', os.environ.get('OMP_WAIT_POLICY'))
            raise SystemExit

sys.meta_path.insert(0, Watch)
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def run(command, value, **kwargs):
    env = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
    if value is not None:
        env['OMP_WAIT_POLICY'] = value
    env.update(kwargs)
    done = subprocess.run([str(word) for word in command],
                          env=env,
                          cwd=ROOT,
                          check=True,
                          stdout=subprocess.PIPE,
                          text=True)
    return done.stdout


each_value = pytest.mark.parametrize('value, expected', [(None, 'PASSIVE'),
                                                         ('ACTIVE', 'ACTIVE')])


@pytest.mark.parametrize(
    'tool, value, expected', [
        *[(tool, None, 'PASSIVE') for tool in TOOLS],
        (TOOLS[0], 'ACTIVE', 'ACTIVE'),
        *[
            pytest.param(tool, 'ACTIVE', 'ACTIVE', marks=pytest.mark.slow)
            for tool in TOOLS[1:]
        ],
    ],
    ids=lambda value: getattr(value, 'stem', None))
def test_tools_set_it_before_torch_is_loaded(tool, value, expected):
    arguments = ARGUMENTS.get(tool.stem, ['--help'])
    printed = run([sys.executable, '-c', UP_TO_TORCH, tool, *arguments], value)
    if tool.stem not in WITHOUT_TORCH:
        assert printed == f'torch {expected}\n'


@each_value
def test_processes_of_a_script_inherit_it(tmp_path, value, expected):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho $OMP_WAIT_POLICY\n')
    python.chmod(0o755)
    printed = run([ROOT / 'tools/dist_train.sh', 'config.py', 2],
                  value,
                  VIRTUAL_ENV=str(tmp_path),
                  PATH=f'{tmp_path}:{os.environ["PATH"]}')
    assert printed == f'{expected}\n'


@each_value
def test_commands_of_make_inherit_it(value, expected):
    rule = '--eval=show:;@echo $$OMP_WAIT_POLICY'
    assert run(['make', '-s', rule, 'show'], value) == f'{expected}\n'
