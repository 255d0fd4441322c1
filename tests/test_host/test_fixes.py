"""Each fix does its work here and nothing where it is not needed."""
import pickle
import re
from collections import OrderedDict

import lvis.eval
import numpy as np
import pytest
import torch
from mmengine.dist import utils as dist_utils
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from eql_mmdet.host import checkpoints, fixes


class ToyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.layer(torch.ones(1, 2)).sum())


def train_toy(work_dir, epochs, **kwargs):
    runner = Runner(
        ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=[dict(inputs=0.)] * 3),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=re.sub(r'\W', '_', str(work_dir)) + str(epochs),
        **kwargs)
    runner.train()
    return runner


def test_checkpoints_of_the_runner_are_read_and_resumed(tmp_path):
    train_toy(tmp_path, 1)
    checkpoint = CheckpointLoader.load_checkpoint(
        str(tmp_path / 'epoch_1.pth'), map_location='cpu')
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 3
    runner = train_toy(tmp_path, 2, resume=True)
    assert runner.iter == 6 and runner.epoch == 2


def test_state_dicts_are_read(tmp_path):
    torch.save(OrderedDict(weight=torch.ones(2)), tmp_path / 'a.pth')
    loaded = checkpoints.load_local_checkpoint(str(tmp_path / 'a.pth'))
    assert loaded['weight'].tolist() == [1, 1]


def test_getattr_of_anything_else_is_refused():
    with pytest.raises(pickle.UnpicklingError, match='__init__'):
        checkpoints._history_method(HistoryBuffer, '__init__')
    with pytest.raises(pickle.UnpicklingError, match='min'):
        checkpoints._history_method(dict, 'min')


class Attack:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('attack', [True, False])
def test_checkpoints_with_other_types_are_refused(tmp_path, attack):
    trace = tmp_path / 'trace'
    other = Attack(str(trace)) if attack else ToyModel()
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict={}, other=other), path)
    trace.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=f'{path}.*could run code'):
        CheckpointLoader.load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    'content',
    [b'', b'no checkpoint',
     pickle.dumps([1, 2])[:-3], b'PK\x03\x04', b'}.'])
def test_damaged_checkpoints_are_named(tmp_path, content):
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged.pth'):
        checkpoints.load_local_checkpoint(str(path))


def test_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / 'whole.pth'
    torch.save(dict(weight=torch.ones(1000)), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match='whole.pth'):
        checkpoints.load_local_checkpoint(str(path))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth'):
        checkpoints.load_local_checkpoint(str(tmp_path / 'none.pth'))


def test_lvis_has_its_float_and_numpy_is_untouched():
    assert lvis.eval.np.float is float
    assert lvis.eval.np.array is np.array
    assert not hasattr(np, 'float')


def test_old_numpy_is_left_alone(monkeypatch):
    monkeypatch.setattr(lvis.eval, 'np', np)
    monkeypatch.setattr(np, 'float', float, raising=False)
    fixes.give_lvis_its_float()
    assert lvis.eval.np is np


@pytest.mark.parametrize('device, patched', [('cpu', True), ('cuda', False)])
def test_distributed_is_changed_on_the_cpu_only(monkeypatch, device, patched):
    monkeypatch.setattr(fixes, 'get_device', lambda: device)
    monkeypatch.setattr(dist_utils, '_init_dist_pytorch', 'host')
    host_init = getattr(MMDistributedDataParallel.__init__, 'host_init',
                        MMDistributedDataParallel.__init__)
    monkeypatch.setattr(MMDistributedDataParallel, '__init__', host_init)
    for _ in range(2):  # a second call changes nothing more
        fixes.run_distributed_on_cpu()
    changed = dist_utils._init_dist_pytorch is fixes._init_gloo
    assert changed == patched
    init = MMDistributedDataParallel.__init__
    assert (init is host_init) != patched
    assert not patched or init.host_init is host_init
