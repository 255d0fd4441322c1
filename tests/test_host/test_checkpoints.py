"""Checkpoints run no code, wherever they come from."""
import io
import re
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import (CheckpointLoader, load_from_ceph,
                                        load_from_openmmlab, load_from_pavi)

from eql_mmdet.host import checkpoints


class Attack:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def trained():
    """What a training saves, in small."""
    history = HistoryBuffer([1.5, 0.5], [1, 1])
    return dict(
        meta=dict(epoch=1, seed=np.int64(3)),
        state_dict=torch.nn.Linear(2, 1).state_dict(),
        optimizer=dict(state={0: dict(step=torch.tensor(1.))}),
        param_schedulers=[dict(milestones=Counter([8, 11]))],
        message_hub=dict(
            log_scalars={'train/loss': history},
            runtime_info=dict(lr=np.float64(0.1), seen=np.ones(3, bool))))


def dangerous(folder, tmp_path):
    """Save a file that leaves a trace when it is loaded; return the trace."""
    trace = tmp_path / 'trace'
    torch.save(dict(state_dict={}, x=Attack(str(trace))), folder / 'bad.pth')
    trace.unlink(missing_ok=True)
    return trace


def test_the_attack_works_where_nothing_is_safe(tmp_path):
    trace = dangerous(tmp_path, tmp_path)
    torch.load(tmp_path / 'bad.pth', weights_only=False)
    assert trace.exists()


def test_weights_come_from_an_address(server):
    folder, address = server
    torch.save(dict(state_dict=dict(a=torch.ones(2))), folder / 'good.pth')
    for _ in range(2):  # the second time from the cache
        found = CheckpointLoader.load_checkpoint(f'{address}/good.pth')
        assert found['state_dict']['a'].tolist() == [1, 1]


def test_an_address_cannot_run_code(server, tmp_path):
    folder, address = server
    trace = dangerous(folder, tmp_path)
    with pytest.raises(ValueError, match=f'{address}/bad.pth.*run code'):
        CheckpointLoader.load_checkpoint(f'{address}/bad.pth')
    assert not trace.exists()


@pytest.mark.parametrize('prefix', ['open-mmlab://', 'openmmlab://'])
def test_names_of_the_model_zoo_cannot_run_code(server, tmp_path, monkeypatch,
                                                prefix):
    folder, address = server
    trace = dangerous(folder, tmp_path)
    zoo = dict(remote=f'{address}/bad.pth', here=str(folder / 'bad.pth'))
    module = 'mmengine.runner.checkpoint'
    monkeypatch.setattr(f'{module}.get_external_models', lambda: zoo)
    for name in zoo:
        with pytest.raises(ValueError, match='run code'):
            CheckpointLoader.load_checkpoint(prefix + name)
    assert not trace.exists()
    assert CheckpointLoader._get_checkpoint_loader(
        prefix + 'here') is load_from_openmmlab


def test_other_stores_cannot_run_code(tmp_path, monkeypatch):
    trace = dangerous(tmp_path, tmp_path)
    content = (tmp_path / 'bad.pth').read_bytes()

    class Backend:

        @staticmethod
        def get(name):
            return content

    monkeypatch.setattr('mmengine.runner.checkpoint.get_file_backend',
                        lambda *args, **kwargs: Backend)
    with pytest.raises(ValueError, match='run code'):
        load_from_ceph('s3://bucket/bad.pth')
    assert not trace.exists()
    assert callable(load_from_pavi)


def test_an_open_file_is_read_safely(tmp_path):
    trace = dangerous(tmp_path, tmp_path)
    file = io.BytesIO((tmp_path / 'bad.pth').read_bytes())
    with pytest.raises(ValueError, match='run code'):
        checkpoints.load_safely(file)
    assert not trace.exists()


def test_torch_itself_is_untouched():
    import mmengine.runner.checkpoint as host
    assert host.torch.load is checkpoints._SafeTorch.load
    assert torch.load is not host.torch.load
    assert host.torch.nn is torch.nn


def test_a_failed_download_names_the_address(server):
    with pytest.raises(OSError, match=f'"{server[1]}/none.pth".*404'):
        CheckpointLoader.load_checkpoint(f'{server[1]}/none.pth')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
def test_what_training_saved_is_read_whole(tmp_path, version, zipped, core):
    path = tmp_path / 'epoch_1.pth'
    torch.save(trained(), path, _use_new_zipfile_serialization=zipped)
    if not zipped:
        data, changes = re.subn(rb'cnumpy\._?core\.', f'c{core}.'.encode(),
                                path.read_bytes())
        assert changes
        path.write_bytes(data)
    found = checkpoints.load_local_checkpoint(str(path), 'cpu')
    history = found['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer) and history.mean() == 1
    assert history.data[0].tolist() == [1.5, 0.5]
    assert found['meta'] == dict(epoch=1, seed=3)
    info = found['message_hub']['runtime_info']
    assert info['lr'] == 0.1 and info['seen'].tolist() == [True] * 3
    assert found['optimizer']['state'][0]['step'] == 1
    assert found['param_schedulers'][0]['milestones'] == {8: 1, 11: 1}


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    'dtype',
    [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_state_dicts_are_read(tmp_path, version, dtype, zipped):
    state = dict(a=torch.ones(2, dtype=dtype))
    state['b'] = torch.nn.Parameter(torch.ones(4)[1:3], requires_grad=False)
    path = tmp_path / 'a.pth'
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    for file in (str(path), io.BytesIO(path.read_bytes())):
        found = checkpoints.load_safely(file, 'cpu')
        assert list(found) == ['a', 'b']
        assert all(found[k].equal(v) for k, v in state.items())


@pytest.mark.parametrize('zipped', [True, False])
def test_no_version_runs_code(tmp_path, version, zipped):
    trace, path = tmp_path / 'trace', tmp_path / 'bad.pth'
    torch.save(
        dict(state_dict={}, x=Attack(str(trace))),
        path,
        _use_new_zipfile_serialization=zipped)
    trace.unlink(missing_ok=True)
    with pytest.raises(ValueError, match='bad.pth.*GLOBAL _?io.open'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not trace.exists()


def test_programs_of_torchscript_are_refused(tmp_path, version):
    path = str(tmp_path / 'script.pth')
    torch.jit.script(torch.nn.Linear(2, 1)).save(path)
    with pytest.raises(ValueError, match='script.pth.*TorchScript'):
        checkpoints.load_local_checkpoint(path)


def test_a_storage_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    """It was an ``AssertionError`` of torch, without the file."""
    path, tensor = tmp_path / 'damaged.pth', torch.ones(2)
    torch.save(dict(a=tensor), path, _use_new_zipfile_serialization=False)
    key = str(tensor.untyped_storage()._cdata).encode()
    path.write_bytes(path.read_bytes().replace(key, key[::-1], 1))
    with pytest.raises(ValueError, match='damaged.pth.*storage key'):
        checkpoints.load_local_checkpoint(str(path))


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(IsADirectoryError, match='Is a directory'):
        checkpoints.load_safely(str(tmp_path))
