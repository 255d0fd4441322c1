"""Checkpoints run no code, wherever they come from."""
import functools
import http.server
import io
import threading

import pytest
import torch
from mmengine.runner.checkpoint import (CheckpointLoader, load_from_ceph,
                                        load_from_openmmlab, load_from_pavi)

from eql_mmdet.host import checkpoints


class Attack:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An address of this machine that serves a folder."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'served'
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):

        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield folder, f'http://127.0.0.1:{served.server_port}'
        served.shutdown()
        thread.join()


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
