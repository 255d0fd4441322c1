"""Configs anywhere inherit from ours by name."""
from pathlib import Path

import pytest
from mmengine.config import Config

from eql_mmdet.host import own_configs

ROOT = Path(__file__).parents[2] / 'configs'
NAME = 'eql_r50_fpn_1x_lvis.py'
CHANGE = '''
model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(frequency_threshold=5e-4))))
repeated = {{_base_.auto_scale_lr}}
size = _base_.auto_scale_lr.base_batch_size
'''


def read(folder, base):
    path = folder / 'mine.py'
    path.write_text(f"_base_ = '{base}'{CHANGE}")
    return Config.fromfile(path)


@pytest.mark.parametrize('name', [
    NAME, 'quick/eql_tiny_lvis.py', 'ablations/eql_r50_fpn_1x_lvis_v1.py',
    '_base_/mask_rcnn_r50_fpn_lvis_v0.5.py'
])
def test_base_by_name_is_the_file_of_that_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    by_path = read(tmp_path, f'{ROOT}/{name}')
    by_name = read(tmp_path, f'eql_mmdet::{name}')
    assert by_name.to_dict() == by_path.to_dict()
    loss = by_name.model.roi_head.bbox_head.loss_cls
    assert loss.frequency_threshold == 5e-4
    assert by_name.repeated.base_batch_size == by_name.size == 16


def test_path_relative_to_the_file_is_a_base_too(tmp_path, monkeypatch):
    (tmp_path / 'clone').mkdir()
    (tmp_path / 'clone/configs').symlink_to(ROOT)
    monkeypatch.chdir('/')
    by_path = read(tmp_path / 'clone', f'configs/{NAME}')
    assert by_path.to_dict() == read(tmp_path, f'eql_mmdet::{NAME}').to_dict()


def test_ours_and_the_packages_of_the_host_are_told_apart(tmp_path):
    cfg = read(tmp_path, f'eql_mmdet::{NAME}')
    path, scope = Config._get_cfg_path(
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'mine.py')
    assert Path(path).is_file() and scope == 'mmdet'
    path, scope = Config._get_cfg_path(f'eql_mmdet::{NAME}', 'mine.py')
    assert Path(path) == ROOT / NAME and scope is None
    assert '_scope_' not in cfg.repeated


@pytest.mark.parametrize(
    'name', ['eql_r50.py', '', 'quick', '../README.md', f'{ROOT}/{NAME}'])
def test_unknown_name_is_refused_with_the_names_there_are(tmp_path, name):
    with pytest.raises(ValueError) as error:
        read(tmp_path, f'eql_mmdet::{name}')
    text = str(error.value)
    assert f'there is no "{name}"' in text
    assert NAME in text and 'quick/long_tail/eql.py' in text


def test_a_second_call_changes_nothing():
    before = Config._get_cfg_path
    own_configs.find_own_configs()
    assert Config._get_cfg_path is before


def test_the_host_looks_for_a_name_once(monkeypatch):
    """Each time it would read the metafiles of every model it has."""
    name = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'
    first = Config._get_cfg_path(name, 'mine.py')
    monkeypatch.setattr('mmengine.config.utils._get_cfg_metainfo', None)
    assert Config._get_cfg_path(name, 'another.py') == first
