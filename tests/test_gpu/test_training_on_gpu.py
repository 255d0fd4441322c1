"""Training on a GPU: one step against the CPU, and the tools of a user."""
import math
import re
import socket
from contextlib import nullcontext
from pathlib import Path

import cv2
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

pytestmark = pytest.mark.gpu
CONFIG = Path(__file__).parents[2] / 'configs/quick/eql_tiny_lvis.py'
OPTIONS = [
    '--cfg-options', 'train_dataloader.batch_size=8',
    'default_hooks.logger.interval=1', 'train_cfg.max_epochs=1',
    'param_scheduler.0.end=2', 'train_cfg.val_interval=1'
]


def give(rpn, proposals):
    """Let an RPN hand on these proposals, if any; list what it hands on."""
    own, handed_on = rpn.loss_and_predict, []

    def loss_and_predict(*args, **kwargs):
        losses, found = own(*args, **kwargs)
        device = found[0].bboxes.device
        found = [p.to(device) for p in proposals or found]
        handed_on.extend(p.cpu() for p in found)
        return losses, found

    rpn.loss_and_predict = loss_and_predict
    return handed_on


def step(device, amp, proposals=None):
    """Train one step; its losses, all gradients end to end, proposals."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    set_random_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    batch = pseudo_collate([dataset[i] for i in range(4)])
    batch = model.data_preprocessor(batch, training=True)
    handed_on = give(model.rpn_head, proposals)
    set_random_seed(0)  # the same RoIs are drawn, on the CPU
    half = torch.autocast(device.type, torch.float16) if amp else nullcontext()
    with half:
        losses = model.loss(batch['inputs'], batch['data_samples'])
        total, values = model.parse_losses(losses)
    (total * (1024 if amp else 1)).backward()
    gradients = torch.cat(
        [p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert total.device.type == gradients.device.type == device.type
    values = {k: v.item() for k, v in values.items()}
    # In float32 a sum over millions makes cosines above 1.
    return values, gradients.cpu().double(), handed_on


@pytest.mark.parametrize('amp', [False, True])
def test_a_step_is_that_of_the_cpu(amp, device, tiny_root, monkeypatch):
    if amp and device.type == 'cpu':
        pytest.skip('half precision is for accelerators')
    monkeypatch.chdir(tiny_root)
    cpu, expected, proposals = step(torch.device('cpu'), False)
    # The scores of an untrained RPN are nearly equal. Half precision rounds
    # most of them to the same number, so that others would come first.
    other, gradients, _ = step(device, amp, proposals if amp else None)
    assert gradients.isfinite().all()
    for name, value in cpu.items():
        if 'loss' in name:
            assert other[name] == pytest.approx(
                value, rel=0.01 if amp else 0.03, abs=0.01), name
    # Proposals of nearly equal scores may change places: no more than that.
    cosine = torch.nn.functional.cosine_similarity(gradients, expected, dim=0)
    assert cosine > (0.998 if amp else 0.98)


def tool_device(device):
    """Skip where the tools cannot be told which device to use."""
    if device.type == 'meta':
        pytest.fail('the tools use a GPU or the CPU')
    return device


def losses_of(output):
    return [float(x) for x in re.findall(r' loss: ([\d.]+|nan|inf)', output)]


@pytest.mark.parametrize('amp', [False, True])
def test_the_tool_trains_and_tests(amp, device, tiny_root, run_tool, tmp_path):
    if amp and tool_device(device).type != 'cuda':
        pytest.skip('--amp of the host is for accelerators')
    output = run_tool(
        'train.py',
        CONFIG,
        '--work-dir',
        tmp_path,
        *(['--amp'] if amp else []),
        *OPTIONS,
        cwd=tiny_root)
    found = losses_of(output)
    assert len(found) == 5 and all(map(math.isfinite, found))
    assert 'lvis/segm_AP:' in output
    assert ('memory: ' in output) == (tool_device(device).type == 'cuda')


def test_one_process_of_nccl_trains(device, tiny_root, run_tool, tmp_path):
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{CONFIG}'\n"
        "custom_hooks = [dict(type='CategoryPressureHook', interval=2)]\n")
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = str(sock.getsockname()[1])
    output = run_tool(
        'dist_train.sh',
        tmp_path / 'config.py',
        1,
        '--work-dir',
        tmp_path,
        *OPTIONS,
        cwd=tiny_root,
        PORT=port)
    assert ('gloo processes' in output) == (tool_device(device).type == 'cpu')
    found = losses_of(output)
    assert len(found) == 5 and all(map(math.isfinite, found))
    assert 'lvis/segm_AP:' in output
    table, = tmp_path.rglob('category_pressure.csv')
    assert len(table.read_text().splitlines()) == 1 + 3 * 60


def test_the_demo_leaves_its_pictures(device, demo, tmp_path):
    demo.main(['--out', str(tmp_path / 'demo')])
    for name in ('frequency.png', 'predictions.png'):
        picture = cv2.imread(str(tmp_path / 'demo' / name))
        assert picture.shape[0] > 300 and picture.std() > 10
    assert tool_device(device).type == get_device()
