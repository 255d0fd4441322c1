"""Files that could run code, or are something else, are refused."""
import contextlib
import functools
import importlib
import io
import marshal
import operator
import os
import pickle
import re
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from eql_mmdet.evaluation.predictions import read_predictions
from eql_mmdet.host.checkpoints import load_safely
from eql_mmdet.host.safe_pickle import read_pickle


class Call:
    """Pickles as a call; the function may be another call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Stand for a function where one is pickled."""


class Opens:
    """Acts when its state is set, as a class of any package might."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        open(state['path'], 'w').close()


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def array_file(content):
    file = io.BytesIO()
    np.save(file, np.array([content], dtype=object), allow_pickle=True)
    return Call(io.BytesIO, file.getvalue())


def source(trap):
    return f"__import__('builtins').open({trap!r}, 'w')"


def code(trap):
    return marshal.dumps(compile(source(trap), '', 'exec'))


#: Name -> what opens a file, of that path, when it is unpickled.
TRAPS = {
    'os.system': lambda trap: Call(os.system, f'touch {trap}'),
    'subprocess.Popen': lambda trap: Call(subprocess.Popen, ['touch', trap]),
    'eval': lambda trap: Call(eval, source(trap)),
    'exec': lambda trap: Call(exec, Call(compile, source(trap), '', 'exec')),
    'open': lambda trap: Call(open, trap, 'w'),
    'getattr': lambda trap: Call(Call(getattr, Path(trap), 'touch')),
    'getattr of a module': lambda trap: Call(
        Call(getattr, Call(importlib.import_module, 'os'), 'system'),
        f'touch {trap}'),
    'a method': lambda trap: Call(Path.touch, Path(trap)),
    'partial': lambda trap: Call(functools.partial(open, trap, 'w')),
    'methodcaller': lambda trap: Call(
        operator.methodcaller('touch'), Path(trap)),
    'reduce': lambda trap: Call(functools.reduce, open, [trap, 'w']),
    'code': lambda trap: Call(exec, Call(marshal.loads, code(trap))),
    'pickle in a pickle': lambda trap: Call(
        pickle.loads, pickle.dumps(Call(open, trap, 'w'))),
    'pickle in a storage': lambda trap: Call(
        torch.storage._load_from_bytes, saved(Call(open, trap, 'w'))),
    'array of objects': lambda trap: np.array([Call(open, trap, 'w')]),
    'file of an array': lambda trap: Call(
        np.load, array_file(Call(open, trap, 'w')), None, True),
    'compiled module': lambda trap: Call(
        torch.fx.graph_module.reduce_graph_module,
        dict(_code=f'{source(trap)}\ndef forward(self): pass'), ''),
    'state of a class': Opens,
    'key of a dict': lambda trap: OrderedDict([(Call(open, trap, 'w'), 1)]),
}  # yapf: disable
EVERY_TRAP = pytest.mark.parametrize('name', TRAPS)
PICKLERS = {
    'zip':
    saved,
    'before torch 1.6':
    functools.partial(saved, _use_new_zipfile_serialization=False),
    'protocol 4':
    functools.partial(saved, pickle_protocol=4),
    'plain':
    functools.partial(pickle.dumps, protocol=2),
    'plain, text':
    functools.partial(pickle.dumps, protocol=0),
    'plain, protocol 5':
    functools.partial(pickle.dumps, protocol=5),
}


@pytest.fixture
def trap(tmp_path):
    """A path, and afterwards the certainty that nothing has opened it."""
    path = tmp_path / 'ran'
    yield str(path)
    assert not path.exists()


@EVERY_TRAP
def test_every_trap_works_where_nothing_is_safe(name, tmp_path):
    trap = tmp_path / 'ran'
    data = pickle.dumps(TRAPS[name](str(trap)))
    assert not trap.exists()
    with contextlib.suppress(AttributeError):  # of a module without layers
        left = pickle.loads(data)
        if isinstance(left, subprocess.Popen):
            left.wait()
    assert trap.exists()


def assert_checkpoint_refused(path, message=''):
    """Load it by the two ways that there are."""
    for load in (load_safely, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=re.escape(str(path)) + message):
            load(str(path))


def write_checkpoint(path, name, pickler, trap):
    content = dict(state_dict={}, meta=TRAPS[name](trap))
    path.write_bytes(PICKLERS[pickler](content))
    return path


@EVERY_TRAP
def test_a_checkpoint_runs_no_code(name, trap, tmp_path):
    path = write_checkpoint(tmp_path / 'bad.pth', name, 'zip', trap)
    assert_checkpoint_refused(path, '.*run code')


@pytest.mark.slow
@pytest.mark.parametrize('pickler', PICKLERS)
@EVERY_TRAP
def test_no_format_and_no_version_runs_code(name, pickler, trap, tmp_path,
                                            version):
    path = write_checkpoint(tmp_path / 'bad.pth', name, pickler, trap)
    assert_checkpoint_refused(path, '.*run code')


@EVERY_TRAP
def test_an_address_runs_no_code(name, trap, server):
    folder, address = server
    write_checkpoint(folder / 'bad.pth', name, 'zip', trap)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ValueError, match=f'{address}/bad.pth.*run code'):
            CheckpointLoader.load_checkpoint(f'{address}/bad.pth')


@pytest.mark.parametrize(
    'protocol',
    [2, *(pytest.param(p, marks=pytest.mark.slow) for p in (0, 1, 3, 4, 5))])
@EVERY_TRAP
def test_predictions_run_no_code(name, protocol, trap, tmp_path):
    path = tmp_path / 'bad.pkl'
    sample = dict(img_id=1, pred_instances=TRAPS[name](trap))
    path.write_bytes(pickle.dumps([sample], protocol))
    for read in (read_pickle, lambda path: read_predictions(path, None)):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(str(path))


def text(value):
    return b'\x8c' + bytes([len(value)]) + value.encode()


def call_of_names(module, name, trap):
    """A program of protocol 4 that puts a name together and calls it."""
    return b'\x80\x04' + text(module) + text(name) + b'\x93' + text(
        f'touch {trap}') + b'\x85R.'


@pytest.mark.parametrize('module, name', [
    ('os', 'system'),
    ('posix', 'system'),
    ('torch.serialization', 'os.system'),
    ('torch._utils', 'torch.serialization.os.system'),
    ('torch.hub', 'os.system'),
    ('numpy', 'os.system'),
    ('collections', '_sys.modules'),
    ('collections', 'OrderedDict.fromkeys'),
    ('builtins', 'getattr'),
    ('__builtin__', 'eval'),
    ('mmengine.logging.history_buffer', 'HistoryBuffer.__init__'),
])
def test_names_that_are_put_together_are_refused(module, name, trap, tmp_path,
                                                 version):
    data = call_of_names(module, name, trap)
    for file in ('bad.pth', 'bad.pkl'):
        (tmp_path / file).write_bytes(data)
    with pytest.raises(ValueError, match='bad.pth'):
        load_safely(str(tmp_path / 'bad.pth'))
    with pytest.raises(ValueError, match='bad.pkl'):
        read_predictions(str(tmp_path / 'bad.pkl'), None)


class Storage:
    """Stands for the storage of a tensor."""


class StoragePickler(pickle.Pickler):
    """Name storages by what a file should not name them by."""

    def __init__(self, file, name):
        super().__init__(file, 2)
        self.name = name

    def persistent_id(self, value):
        return self.name if isinstance(value, Storage) else None


def with_data(data):
    """A file of torch whose pickle is another."""
    good, bad = io.BytesIO(saved(dict(a=torch.ones(4)))), io.BytesIO()
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, 'w') as new:
        for name in old.namelist():
            is_pickle = name.endswith('data.pkl')
            new.writestr(name, data if is_pickle else old.read(name))
    return bad.getvalue()


def persistent(value):
    file = io.BytesIO()
    StoragePickler(file, value).dump(dict(state_dict={}, a=Storage()))
    return with_data(file.getvalue())


def rebuilt(*args):
    """A file of torch with a tensor that does not fit its four numbers."""
    storage = torch.ones(4).storage()
    return saved(dict(a=Call(torch._utils._rebuild_tensor_v2, storage, *args)))


def archive(kind, **files):
    """A zip or tar file of other things."""
    file = io.BytesIO()
    if kind == 'tar':
        with tarfile.open(fileobj=file, mode='w') as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return file.getvalue()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    return file.getvalue()


def without_storage():
    """A file from before torch 1.6 that names another storage first."""
    tensor = torch.ones(2)
    key = str(tensor.untyped_storage()._cdata).encode()
    data = PICKLERS['before torch 1.6'](dict(a=tensor))
    assert data.count(key) == 2
    return data.replace(key, bytes(reversed(key)), 1)


def call(trap):
    return Call(open, trap, 'w')


#: Name -> bytes of a file that is no checkpoint and no predictions.
OTHERS = {
    'empty': lambda trap: b'',
    'a page': lambda trap: b'<!DOCTYPE html><html>404 Not Found</html>',
    'a pointer of Git LFS': lambda trap: (
        b'version https://git-lfs.github.com/spec/v1\nsize 12345\n'),
    'a picture': lambda trap: b'\x89PNG\r\n\x1a\n' + bytes(100),
    'zeros': lambda trap: bytes(10_000),
    'noise': lambda trap: np.random.default_rng(0).bytes(10_000),
    'a script': lambda trap: f'#!/bin/sh\ntouch {trap}\n'.encode(),
    'another zip': lambda trap: archive('zip', **{'readme.txt': b'hello'}),
    'names that lead out': lambda trap: archive(
        'zip', **{'../../ran': b'x', trap: b'x'}),
    'a tar that leads out': lambda trap: archive(
        'tar', **{'../../ran': b'x', trap: b'x', 'storages': b'x'}),
    'a tar of a pickle': lambda trap: archive(
        'tar', storages=pickle.dumps(1), tensors=pickle.dumps(1),
        pickle=pickle.dumps(call(trap))),
    'a packed pickle of zeros': lambda trap: archive(
        'zip', **{'archive/data.pkl': bytes(10**7), 'archive/version': b'3'}),
    'TorchScript': lambda trap: script(),
    'a storage of a call': lambda trap: persistent(
        ('storage', call(trap), '0', 'cpu', 4)),
    'a storage of another type': lambda trap: persistent(
        ('storage', 'FloatStorage', '0', 'cpu', 4)),
    'a storage that leads out': lambda trap: persistent(
        ('storage', torch.FloatStorage, '../../../ran', 'cpu', 4)),
    'a storage of no parts': lambda trap: persistent(trap),
    'a storage too large': lambda trap: persistent(
        ('storage', torch.FloatStorage, '0', 'cpu', 10**6)),
    'a storage larger than all': lambda trap: persistent(
        ('storage', torch.FloatStorage, '0', 'cpu', 10**30)),
    'a storage of less than nothing': lambda trap: persistent(
        ('storage', torch.FloatStorage, '0', 'cpu', -4)),
    'a tensor too large': lambda trap: rebuilt(
        0, (10**9, ), (1, ), False, OrderedDict()),
    'a tensor before its storage': lambda trap: rebuilt(
        -9, (2, ), (1, ), False, OrderedDict()),
    'a tensor behind its storage': lambda trap: rebuilt(
        4, (2, ), (1, ), False, OrderedDict()),
    'a tensor of a stride too large': lambda trap: rebuilt(
        0, (2, 2), (10**15, 1), False, OrderedDict()),
    'a tensor without a size': lambda trap: rebuilt(0),
    'a hook of a tensor': lambda trap: rebuilt(
        0, (4, ), (1, ), True, OrderedDict([(0, call(trap))])),
    'a stack that is empty': lambda trap: b'\x80\x02R.',
    'a memo that is empty': lambda trap: b'\x80\x02h\x07.',
    'text of any length': lambda trap: (
        b'\x80\x04\x8d' + (2**62).to_bytes(8, 'little') + b'a.'),
    'bytes of any length': lambda trap: (
        b'\x80\x05\x96' + (2**62).to_bytes(8, 'little') + b'a.'),
    'lists in lists': lambda trap: (
        b'\x80\x02' + 10_000 * b']' + 9999 * b'a' + b'.'),
    'lists in lists of JSON': lambda trap: 100_000 * b'[',
    'a storage that is not there': lambda trap: without_storage(),
    'a protocol of the future': lambda trap: b'\x80\x63N.',
    'a number of the registry': lambda trap: b'\x80\x02\x82\x01)R.',
}  # yapf: disable
EVERY_OTHER = pytest.mark.parametrize('name', OTHERS)


@EVERY_OTHER
def test_what_is_no_checkpoint_is_refused(name, trap, tmp_path):
    (tmp_path / 'bad.pth').write_bytes(OTHERS[name](trap))
    assert_checkpoint_refused(tmp_path / 'bad.pth')


@pytest.mark.slow
@EVERY_OTHER
def test_every_version_refuses_what_is_no_checkpoint(name, trap, tmp_path,
                                                     version):
    (tmp_path / 'bad.pth').write_bytes(OTHERS[name](trap))
    assert_checkpoint_refused(tmp_path / 'bad.pth')


@EVERY_OTHER
def test_no_checkpoint_behind_an_address_is_refused(name, trap, server):
    folder, address = server
    (folder / 'bad.pth').write_bytes(OTHERS[name](trap))
    with pytest.raises(ValueError, match=f'{address}/bad.pth'):
        CheckpointLoader.load_checkpoint(f'{address}/bad.pth')


@EVERY_OTHER
@pytest.mark.parametrize('ending', ['pkl', 'json'])
def test_what_holds_no_predictions_is_refused(name, ending, trap, tmp_path):
    path = tmp_path / f'bad.{ending}'
    path.write_bytes(OTHERS[name](trap))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_predictions(str(path), None)
