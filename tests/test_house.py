"""Who may import whom: the rooms of the package stay in their order."""
import ast
import os
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'eql_mmdet'
#: A room may import itself and those before it.
ROOMS = ('host', 'annotations', 'rarity', 'datasets', 'losses', 'heads',
         'evaluation', 'reports')
#: Imported by nobody in the package; may import every room.
APART = ('synthetic', 'checkpoints', 'retraining', 'advice')
#: Rooms that know neither the host stack nor its registries.
PURE = ('annotations', 'rarity', 'synthetic')
HOST = {'mmcv', 'mmdet', 'mmengine'}
#: Registers nothing, but stands between the host and what does.
HOST_SIDE = {
    PACKAGE / name
    for name in ('datasets/annotated_dataset.py', 'datasets/class_config.py',
                 'datasets/config_parts.py', 'datasets/files.py',
                 'heads/postprocess.py', 'losses/contract.py',
                 'losses/counts_loss.py', 'losses/memory.py',
                 'losses/tail_loss.py', 'retraining/classifier.py',
                 'retraining/detector.py', 'retraining/pooling.py',
                 'retraining/testing.py')
}
FILES = sorted(PACKAGE.rglob('*.py'))
TOOLS = sorted((PACKAGE.parent / 'tools').rglob('*.py'))
REGISTERED = {p for p in FILES if 'register_module' in p.read_text()}


def imported_modules(path):
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[:len(package) - node.level + 1]
            if node.module:
                yield '.'.join((*base, node.module))
            else:
                yield from ('.'.join((*base, a.name)) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def top_level_imports(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def room_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def is_entrance(path):
    """Whether a file may know everything: what ``import`` itself runs."""
    return room_of(path) is None


def test_there_are_registered_and_pure_files():
    names = {path.name for path in REGISTERED}
    assert {
        'equalization.py', 'bbox_head.py', 'samplers.py', 'lvis_metric.py'
    } <= names
    assert PACKAGE / 'losses' / 'functional.py' in FILES


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_no_arrow_points_back(path):
    modules = set(imported_modules(path))
    assert not {m.split('.')[0] for m in modules} & {'tools', 'tests'}
    room = room_of(path)
    if room is None:
        return
    known = {m.split('.')[1] for m in modules if m.startswith('eql_mmdet.')}
    before = ROOMS[:ROOMS.index(room) + 1] if room in ROOMS else (*ROOMS, room)
    assert known <= {*before, 'version'}


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_registered_files_meet_in_a_config(path):
    registered = {
        '.'.join(p.relative_to(PACKAGE.parent).with_suffix('').parts)
        for p in REGISTERED
    }
    if not is_entrance(path):
        assert not set(imported_modules(path)) & registered


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_only_registered_files_and_the_host_room_know_the_host(path):
    if room_of(path) in (None, 'host') or path in REGISTERED | HOST_SIDE:
        assert room_of(path) not in PURE
        return
    assert not {m.split('.')[0] for m in imported_modules(path)} & HOST


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_rooms_are_flat_and_have_names(path):
    room = room_of(path)
    assert room in (None, *ROOMS, *APART)
    assert len(path.relative_to(PACKAGE).parts) <= 2


def needs_operators(module):
    """Whether a module asks for the operators of MMCV when imported."""
    free = ('mmdet.registry', 'mmdet.utils')
    return (module.startswith(('mmdet.', 'mmcv._ext', 'mmcv.ops'))
            and not module.startswith(free))


@pytest.mark.parametrize('path', TOOLS, ids=lambda p: p.stem)
def test_tools_import_the_package_before_what_needs_operators(path):
    """The package puts them there where MMCV was not compiled."""
    modules = [
        m.split('.')[0] if m.startswith('eql_mmdet') else m
        for m in top_level_imports(path)
    ]
    needing = [i for i, m in enumerate(modules) if needs_operators(m)]
    if needing:
        assert 'eql_mmdet' in modules[:needing[0]]


@pytest.mark.parametrize('path', TOOLS, ids=lambda p: p.stem)
def test_what_is_a_script_can_be_typed_as_it_stands(path):
    """The README types tools/NAME.py, without python."""
    is_script = '__main__' in path.read_text()
    assert is_script == path.read_text().startswith('#!')
    assert is_script == os.access(path, os.X_OK)
