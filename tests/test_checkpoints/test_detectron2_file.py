"""Files are written whole, new and as the other side reads them."""
import pickle

import numpy as np
import pytest
import torch

from eql_mmdet.checkpoints.detectron2_file import (check_target,
                                                   write_checkpoint)

WEIGHTS = dict(a=torch.arange(6.).reshape(2, 3), b=torch.ones(2).half())


def test_pth_holds_the_checkpoint(tmp_path):
    path = str(tmp_path / 'new' / 'model.pth')
    write_checkpoint(path, dict(model=WEIGHTS, meta=dict(x=1)))
    found = torch.load(path, weights_only=True)
    assert set(found) == {'model', 'meta'} and found['meta'] == dict(x=1)
    assert all(found['model'][k].equal(v) for k, v in WEIGHTS.items())


def test_pkl_holds_arrays_and_an_author(tmp_path):
    # detectron2 takes a .pkl without both keys for one of Caffe2.
    path = tmp_path / 'model.pkl'
    write_checkpoint(str(path), dict(model=WEIGHTS))
    found = pickle.loads(path.read_bytes(), encoding='latin1')
    assert set(found) == {'model', '__author__'}
    assert all(type(v) is np.ndarray for v in found['model'].values())
    assert found['model']['b'].dtype == np.float16
    np.testing.assert_array_equal(found['model']['a'], WEIGHTS['a'].numpy())


@pytest.mark.parametrize('name', ['model.pth', 'model.pkl'])
def test_nothing_is_overwritten(tmp_path, name):
    path = tmp_path / name
    path.write_text('mine')
    with pytest.raises(FileExistsError, match='already there'):
        write_checkpoint(str(path), dict(model=WEIGHTS))
    assert path.read_text() == 'mine'


def test_links_to_nowhere_are_not_overwritten(tmp_path):
    path = tmp_path / 'model.pth'
    path.symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(FileExistsError):
        check_target(str(path), ['.pth'])


@pytest.mark.parametrize('name, model', [
    ('model.pth', dict(a=(x for x in 'generators cannot be pickled'))),
    ('model.pkl', dict(a=torch.ones(2, dtype=torch.bfloat16))),
])
def test_a_failure_leaves_no_file(tmp_path, name, model):
    with pytest.raises(TypeError):
        write_checkpoint(str(tmp_path / name), dict(model=model))
    assert not list(tmp_path.iterdir())


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match='ends in .pth, but got "a.pkl"'):
        check_target('a.pkl', ['.pth'])
    with pytest.raises(ValueError, match='ends in .pth or .pkl'):
        write_checkpoint(str(tmp_path / 'a.onnx'), dict(model=WEIGHTS))
