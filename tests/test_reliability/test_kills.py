"""A training that is killed and resumed ends with the very same weights."""
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from class_project import SMALL, write_split

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get('EQL_TEST_KILLS', 20))
CONFIG = f'''
_base_ = '{ROOT}/configs/eql_r50_fpn_1x_coco_format.py'
{SMALL}
train_dataloader.update(batch_size=2)
val_dataloader = val_cfg = val_evaluator = None
param_scheduler = []
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # there is no warm-up
default_hooks = dict(logger=dict(interval=1))
'''
SIZE = ['--cfg-options', 'train_dataloader.dataset.pipeline.2.scale=(96,96)']
LOOPS = {
    'iter':
    '''
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=40,
    val_interval=1000)
default_hooks.update(
    checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=1))
''',
    'epoch':
    '''
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=8)
default_hooks.update(checkpoint=dict(interval=1, max_keep_ckpts=1))
'''
}


class Training:
    """A training in processes of its own, resumed where there is a run."""

    def __init__(self, folder, ranks, name):
        self.folder, self.work_dir = folder, folder / name
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            port = str(sock.getsockname()[1])
        self.work_dir.mkdir(exist_ok=True)
        self.output = self.work_dir / f'output_{time.monotonic_ns()}'
        self.processes = [
            self.start(ranks, RANK=str(rank), LOCAL_RANK=str(rank), PORT=port)
            for rank in range(ranks)
        ]

    def start(self, ranks, PORT, **env):
        launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
        env.update(
            WORLD_SIZE=str(ranks), MASTER_ADDR='127.0.0.1', MASTER_PORT=PORT)
        with open(self.output, 'a') as file:
            return subprocess.Popen([
                sys.executable, ROOT / 'tools/train.py', 'mine.py',
                '--work-dir', self.work_dir, '--resume', *launcher, *SIZE
            ],
                                    cwd=self.folder,
                                    env={
                                        **os.environ,
                                        **env
                                    },
                                    stdout=file,
                                    stderr=file)

    def is_running(self):
        return any(process.poll() is None for process in self.processes)

    def has_begun(self):
        return '(train)' in self.output.read_text()

    def wait(self, seconds, until=lambda: False):
        end = time.monotonic() + seconds
        while self.is_running() and time.monotonic() < end and not until():
            time.sleep(0.02)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def result(self):
        """What a run that has come to its end has written."""
        assert [p.wait() for p in self.processes
                ] == [0] * len(self.processes), self.output.read_text()[-3000:]
        name = (self.work_dir / 'last_checkpoint').read_text()
        file = torch.load(name, weights_only=False)
        assert file['meta']['iter'] == 40
        states = file['optimizer']['state']
        return file['state_dict'], {
            k: s['momentum_buffer']
            for k, s in states.items()
        }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    different = [k for k in found if not torch.equal(found[k], expected[k])]
    assert not different, different


@pytest.fixture
def project(tmp_path):

    def make(loop, ranks):
        # Of ten images; a process sees all, or half of them in two epochs.
        images = [(0, 1)] * 9 + [(0, 1, 2)]
        write_split(tmp_path / 'data/custom', 'train', images * ranks)
        (tmp_path / 'mine.py').write_text(CONFIG + LOOPS[loop])
        return tmp_path

    return make


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [1, 2])
@pytest.mark.parametrize('loop', LOOPS)
def test_killed_at_random_moments_it_ends_with_the_same_weights(
        project, loop, ranks):
    folder = project(loop, ranks)
    whole = Training(folder, ranks, 'whole')
    whole.wait(300, whole.has_begun)
    begun = time.monotonic()
    whole.wait(600)
    duration = time.monotonic() - begun
    weights, momenta = whole.result()
    assert all(w.isfinite().all() for w in weights.values())
    moments, kills, runs = random.Random(5), 0, 0
    while kills < KILLS:
        runs += 1
        while True:
            training = Training(folder, ranks, f'killed_{runs}')
            training.wait(300, training.has_begun)
            training.wait(
                moments.uniform(0, duration / 3) if kills < KILLS else 600)
            if not training.is_running():
                break
            training.kill()
            kills += 1
        found = training.result()
        assert_equal(found[0], weights)
        assert_equal(found[1], momenta)
    print(f'{kills} kills of {runs} trainings ({loop}, {ranks}): all equal')
