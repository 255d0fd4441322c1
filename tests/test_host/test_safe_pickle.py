"""Arrays in plain containers are read; everything else is refused."""
import collections
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from eql_mmdet.host.safe_pickle import read_pickle


class Payload:
    """Pickles as a call of anything."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def write(tmp_path):

    def write(content, protocol=2, edit=lambda data: data):
        path = tmp_path / 'model.pkl'
        path.write_bytes(edit(pickle.dumps(content, protocol)))
        return str(path)

    return write


CONTENT = {
    'model':
    collections.OrderedDict(
        a=np.arange(6, dtype='<f4').reshape(2, 3),
        b=np.array(2.5),
        c=np.asfortranarray(np.eye(3))),
    '__author__':
    'someone',
    'iteration':
    np.int64(7),
    'list': [(1, 2.0, None, True, b'\xff')],
}


def assert_content(found):
    assert set(found) == set(CONTENT)
    assert type(found['model']) is collections.OrderedDict
    for name, value in CONTENT['model'].items():
        np.testing.assert_array_equal(found['model'][name], value)
        assert found['model'][name].dtype == value.dtype
    rest = set(CONTENT) - {'model'}
    assert {k: found[k] for k in rest} == {k: CONTENT[k] for k in rest}


@pytest.mark.parametrize('protocol', range(6))
def test_arrays_and_containers_are_read(write, protocol):
    assert_content(read_pickle(write(CONTENT, protocol)))


@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
def test_names_of_both_numpys_are_known(write, core):

    def rename(data):
        assert b'numpy._core' in data or b'numpy.core' in data
        return data.replace(b'numpy._core',
                            b'numpy.core').replace(b'numpy.core', core)

    assert_content(read_pickle(write(CONTENT, edit=rename)))


def test_strings_of_python_2_are_read(write):
    path = write(0, edit=lambda _: b"}U\x05model}U\x01aU\x01\xe9ss.")
    assert read_pickle(path) == {'model': {'a': 'é'}}


CALLS = {
    'system': (os.system, 'touch HACKED'),
    'eval': (eval, "open('HACKED', 'w')"),
    'getattr': (getattr, 'HACKED', 'lower'),
    'open': (open, 'HACKED', 'w'),
    'partial': (partial, os.getcwd),
    '_rebuild_tensor_v2': (torch._utils._rebuild_tensor_v2, ),
    'load': (np.load, 'a.npy', None, True),
    'encode': (__import__('_codecs').encode, 'a', 'rot13'),
}


@pytest.mark.parametrize('name', CALLS)
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_anything_else_is_refused_by_name(write, name, protocol, tmp_path,
                                          monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write({'model': Payload(*CALLS[name])}, protocol)
    expected = 'rot13' if name == 'encode' else rf'\.{name}\b'
    with pytest.raises(ValueError, match=expected):
        read_pickle(path)
    assert not (tmp_path / 'HACKED').exists()


@pytest.mark.parametrize('module, name', [
    ('numpy', 'dtype.newbyteorder'),
    ('numpy.core.multiarray', 'ndarray'),
    ('collections', 'OrderedDict.fromkeys'),
    ('numpy._core._core.multiarray', '_reconstruct'),
])
def test_names_near_the_allowed_are_refused(write, module, name):

    def text(value):
        return b'\x8c' + bytes([len(value)]) + value.encode()

    data = b'\x80\x04' + text(module) + text(name) + b'\x93.'
    with pytest.raises(ValueError, match=f'it holds {module}.{name}'):
        read_pickle(write(0, edit=lambda _: data))


@pytest.mark.parametrize(
    'edit',
    [lambda data: b'', lambda data: data[:-20], lambda data: b'PK\x03\x04'],
    ids=['empty', 'cut', 'zip'])
def test_damaged_files_are_refused(write, edit):
    with pytest.raises(ValueError, match='model.pkl" is damaged'):
        read_pickle(write(CONTENT, edit=edit))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='model.pkl'):
        read_pickle(str(tmp_path / 'model.pkl'))
