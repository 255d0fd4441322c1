"""Training and testing through the command line, as a user does it."""
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/quick/eql_tiny_lvis.py'
#: They are tested on.
FEW = ['--cfg-options', 'test_dataloader.dataset.indices=8']
#: An epoch of five steps.
SMALL = [
    '--cfg-options', 'val_dataloader.dataset.indices=8',
    'train_dataloader.batch_size=4', 'train_dataloader.dataset.indices=20',
    'default_hooks.logger.interval=1', 'param_scheduler.0.end=2'
]


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return str(sock.getsockname()[1])


def options(epochs):
    return [
        *SMALL, f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}'
    ]


@pytest.fixture(scope='module')
def trained(tiny_root, run_tool):
    """One epoch of the quick config: its folder and what it printed."""
    work_dir = tiny_root / 'trained'
    output = run_tool(
        'train.py', CONFIG, '--work-dir', work_dir, *options(1), cwd=tiny_root)
    return work_dir, output


def test_training_logs_protection_losses_and_metrics(trained):
    work_dir, output = trained
    assert re.search(r'EqualizationLoss protects \d+ of 60 categories', output)
    losses = re.findall(r' loss: ([\d.]+)', output)
    assert len(losses) == 5 and 'nan' not in output
    rpn = [float(x) for x in re.findall(r'loss_rpn_cls: ([\d.]+)', output)]
    assert rpn[-1] < rpn[0]
    for name in ('bbox_AP', 'bbox_AP50', 'segm_APr', 'segm_APc', 'segm_APf'):
        assert f'lvis/{name}:' in output
    assert (work_dir / 'epoch_1.pth').is_file()


def test_testing_a_checkpoint_repeats_its_metrics(trained, tiny_root, run_tool,
                                                  tmp_path):
    work_dir, output = trained
    tested = run_tool(
        'test.py',
        CONFIG,
        work_dir / 'epoch_1.pth',
        '--work-dir',
        tmp_path,
        '--out',
        tmp_path / 'predictions.pkl',
        '--show-dir',
        'shown',
        *FEW,
        cwd=tiny_root)

    def metrics(text):
        return re.findall(r'(lvis/\w+): (-?[\d.]+)', text.split('Epoch(')[-1])

    assert metrics(tested) == metrics(output) != []
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert len(predictions) == 8
    assert len(list(tmp_path.rglob('shown/*.jpg'))) == 8


@pytest.mark.slow
def test_training_is_resumed_where_it_was_killed(tiny_root, run_tool):
    work_dir = tiny_root / 'killed'
    command = [
        sys.executable, ROOT / 'tools/train.py', CONFIG, '--work-dir',
        work_dir, *options(9)
    ]
    with subprocess.Popen(
            command, cwd=tiny_root, stdout=subprocess.DEVNULL) as process:
        deadline = time.time() + 300
        # The file that names the checkpoint is written after it.
        while not (work_dir / 'last_checkpoint').exists():
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    last = Path((work_dir / 'last_checkpoint').read_text())
    epoch = int(last.stem.split('_')[1])
    output = run_tool(
        'train.py',
        CONFIG,
        '--work-dir',
        work_dir,
        '--resume',
        *options(epoch + 1),
        cwd=tiny_root)
    assert f'resumed epoch: {epoch}, iter: {5 * epoch}' in output
    assert f'Epoch(train) [{epoch + 1}][1/5]' in re.sub(' +', ' ', output)
    assert f'Epoch(train) [{epoch}][' not in re.sub(' +', ' ', output)
    assert (work_dir / f'epoch_{epoch + 1}.pth').is_file()


RANK_DUMP = '''
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DumpRank(Hook):

    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(),
                   f'{runner.work_dir}/rank_{get_rank()}.pth')
'''


@pytest.fixture(params=[
    'as torchrun starts them',
    pytest.param('dist_train.sh', marks=pytest.mark.slow)
])
def train_two(request, tiny_root, run_tool):
    """Train in two processes; what they print."""

    def run(*args, PORT, **env):
        if request.param == 'dist_train.sh':
            return run_tool(
                request.param,
                args[0],
                2,
                *args[1:],
                cwd=tiny_root,
                PORT=PORT,
                **env)
        env.update(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=PORT)
        with ThreadPoolExecutor(2) as pool:
            return ''.join(
                pool.map(
                    lambda rank: run_tool(
                        'train.py',
                        *args,
                        '--launcher',
                        'pytorch',
                        cwd=tiny_root,
                        RANK=rank,
                        LOCAL_RANK=rank,
                        **env), '01'))

    return run


def test_two_processes_end_with_the_same_weights(train_two, tmp_path):
    (tmp_path / 'rank_dump.py').write_text(RANK_DUMP)
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{CONFIG}'\n"
        "custom_imports = dict(imports=['eql_mmdet', 'rank_dump'])\n"
        "default_hooks = dict(dump=dict(type='DumpRank'))\n")
    output = train_two(
        tmp_path / 'config.py',
        '--work-dir',
        tmp_path,
        *options(1),
        'train_cfg.val_begin=2',
        PYTHONPATH=str(tmp_path),
        PORT=free_port())
    assert '2 gloo processes share the CPU' in output
    assert 'Epoch(train) [1][3/3]' in re.sub(' +', ' ', output)
    first, second = (
        torch.load(tmp_path / f'rank_{rank}.pth') for rank in range(2))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], rtol=0, atol=0, msg=name)
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    torch.testing.assert_close(saved['state_dict'], first, rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(trained, tiny_root, run_tool,
                                                 tmp_path):
    work_dir, output = trained
    tested = run_tool(
        'dist_test.sh',
        CONFIG,
        work_dir / 'epoch_1.pth',
        2,
        '--work-dir',
        tmp_path,
        *FEW,
        cwd=tiny_root,
        PORT=free_port())
    pattern = r'(lvis/\w+): (-?[\d.]+)'
    assert re.findall(pattern,
                      tested.split('Epoch(test)')[-1]) == re.findall(
                          pattern,
                          output.split('Epoch(val)')[-1])


@pytest.mark.parametrize('script, usage', [
    ('dist_train.sh', 'dist_train.sh CONFIG GPUS'),
    ('dist_test.sh', 'dist_test.sh CONFIG CHECKPOINT GPUS'),
])
def test_scripts_say_how_they_are_used(script, usage, run_tool, tmp_path):
    assert usage in run_tool(script, cwd=tmp_path, check=False)


@pytest.mark.parametrize('argv, error, message', [
    ([
        '--cfg-options',
        'model.roi_head.bbox_head.loss_cls.frequency_source=lvis_v1'
    ], ValueError, 'not among the 1203 categories of lvis_v1'),
    (['--amp'], AssertionError, 'only available'),
])
def test_wrong_settings_stop_training_before_it_starts(argv, error, message,
                                                       load_tool, tiny_root,
                                                       tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_root)
    monkeypatch.setattr(sys, 'argv', ['train'])
    command = [str(CONFIG), '--work-dir', str(tmp_path), *argv]
    with pytest.raises(error, match=message):
        load_tool('train').main(command)


@pytest.mark.parametrize('name, flags', [
    ('train', '--work-dir --resume --amp --auto-scale-lr --cfg-options '
     '--launcher'),
    ('test', '--work-dir --out --show-dir --tta --cfg-options --launcher'),
])
def test_flags_of_mmdet_are_there(name, flags, load_tool, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [name])
    with pytest.raises(SystemExit):
        load_tool(name).main(['--help'])
    help_text = capsys.readouterr().out
    assert all(flag in help_text for flag in flags.split())
