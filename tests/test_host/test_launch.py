"""The host's tools are found, checked and run."""
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch.distributed as dist
from mmengine.config import Config

from eql_mmdet.host import launch

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    p for p in (ROOT / 'configs').rglob('*.py') if p.parent.name != '_base_')


@pytest.fixture(autouse=True)
def keep_argv(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool'])


@pytest.mark.parametrize('name', ['train', 'test'])
def test_host_tools_are_there(name):
    tool = launch.load_host_tool(name)
    assert callable(tool.main) and callable(tool.parse_args)


def test_host_without_tools_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(mmdet, '__file__', str(tmp_path / '__init__.py'))
    with pytest.raises(ImportError, match='without its configs and tools'):
        launch.load_host_tool('train')


@pytest.mark.parametrize('tool, argv, message', [
    ('train', ['none.py'], 'config to be a file.*none.py'),
    ('train', [__file__, '--resume', 'none.pth'], '--resume.*none.pth'),
    ('test', [__file__, 'none.pth'], 'checkpoint.*none.pth'),
])
def test_missing_files_are_named_before_anything_starts(tool, argv, message):
    with pytest.raises(SystemExit, match=message):
        launch.run_host_tool(tool, argv)


@pytest.mark.parametrize('argv', [
    ['--resume'],
    ['--resume', __file__],
    ['--amp', '--auto-scale-lr', '--cfg-options', 'a.b=1'],
])
def test_options_reach_the_host(monkeypatch, argv):
    seen = []
    tool = launch.load_host_tool('train')
    monkeypatch.setattr(tool, 'main', lambda: seen.append(tool.parse_args()))
    monkeypatch.setattr(launch, 'load_host_tool', lambda name: tool)
    launch.run_host_tool('train', [str(Path(__file__)), *argv])
    args = seen[0]
    assert args.config == __file__
    assert args.resume == {1: 'auto', 2: __file__}.get(len(argv))
    assert args.amp == args.auto_scale_lr == ('--amp' in argv)


def test_remote_checkpoints_are_left_to_the_host(monkeypatch):
    tool = launch.load_host_tool('test')
    monkeypatch.setattr(tool, 'main', lambda: None)
    monkeypatch.setattr(launch, 'load_host_tool', lambda name: tool)
    launch.run_host_tool('test', [__file__, 'https://host/a.pth'])
    assert sys.argv[2] == 'https://host/a.pth'


def test_the_process_group_ends_with_the_tool(monkeypatch, tmp_path):
    tool = launch.load_host_tool('test')
    monkeypatch.setattr(
        tool, 'main', lambda: dist.init_process_group(
            'gloo',
            init_method=f'file://{tmp_path}/store',
            rank=0,
            world_size=1))
    monkeypatch.setattr(launch, 'load_host_tool', lambda name: tool)
    launch.run_host_tool('test', [__file__, __file__])
    assert not dist.is_initialized()


ABORTING = '''
import atexit, os, runpy

class Thread:
    def __del__(self, abort=os.abort):
        abort()

atexit.register(print, 'written at the end')
thread = Thread()  # gone when the interpreter ends
print('trained', end=' ')
{}
'''

#: Without the rest of the package, which would be imported for seconds.
LEAVING = 'runpy.run_path("eql_mmdet/host/command_line.py")["leave"]()'


@pytest.mark.parametrize('end, status', [('', -6), (LEAVING, 0)])
def test_the_end_of_the_interpreter_cannot_fail_a_tool(end, status):
    done = subprocess.run(
        [sys.executable, '-c', ABORTING.format(end)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT)
    assert done.returncode == status
    if end:
        assert done.stdout == 'trained written at the end\n'


@pytest.mark.parametrize('name', ['train', 'test'])
def test_tools_leave_when_they_have_done_their_work(name):
    text = (ROOT / f'tools/{name}.py').read_text()
    assert text.endswith("    main()\n    leave()\n")


BOXES = dict(roi_head=dict(bbox_head=dict(type='Shared2FCBBoxHead')))
OURS = dict(roi_head=dict(bbox_head=[dict(type='EQLBBoxHead')]))
MASKS = dict(mask_head=dict(type='YOLACTProtonet'))


@pytest.mark.parametrize('path', CONFIGS[::6], ids=lambda p: p.stem)
def test_views_of_our_models_are_not_merged(path):
    cfg = Config.fromfile(path, import_custom_modules=False)
    with pytest.raises(ValueError, match='--tta .* mask head'):
        launch.check_views(cfg)


@pytest.mark.parametrize('model, tta_type', [
    (BOXES, None),
    (dict(bbox_head=dict(type='RetinaHead')), None),
    (BOXES, 'DetTTAModel'),
    (OURS, 'DetTTAModel'),
    (MASKS, 'TheirTTAModel'),
])
def test_views_are_merged_where_the_host_can(model, tta_type):
    tta = dict(tta_model=dict(type=tta_type)) if tta_type else {}
    launch.check_views(Config(dict(model=model, **tta)))


@pytest.mark.parametrize('model, tta, message', [
    (OURS, {}, 'EQLBBoxHead is for LVIS, which counts 300'),
    (MASKS, {}, 'mask head'),
    (MASKS, dict(tta_model=dict(type='DetTTAModel')), 'mask head'),
])
def test_views_are_not_merged_where_the_host_cannot(model, tta, message):
    with pytest.raises(ValueError, match=message):
        launch.check_views(Config(dict(model=model, **tta)))


def test_options_of_the_command_line_count_for_views(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f'model = {BOXES}')
    options = ['--cfg-options', 'model.roi_head.mask_head.type=FCNMaskHead']
    with pytest.raises(SystemExit, match='^test: --tta .* mask head'):
        launch.run_host_tool('test', [str(path), __file__, '--tta', *options])


@pytest.mark.parametrize('masks, refused', [(True, True), (False, False)])
def test_views_are_not_merged_where_there_are_masks(monkeypatch, tmp_path,
                                                    masks, refused):
    config = tmp_path / 'config.py'
    head = "dict(type='A')" if masks else 'None'
    config.write_text(f'model = dict(roi_head=dict(mask_head={head}))')
    tool = launch.load_host_tool('test')
    ran = []
    monkeypatch.setattr(tool, 'main', lambda: ran.append(1))
    monkeypatch.setattr(launch, 'load_host_tool', lambda name: tool)
    argv = [str(config), __file__, '--tta']
    if refused:
        with pytest.raises(SystemExit, match='test: --tta .* mask head'):
            launch.run_host_tool('test', argv)
    else:
        launch.run_host_tool('test', argv)
    assert bool(ran) != refused
