"""Who may import whom: the rooms of the package stay apart."""
import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'eql_mmdet'
HOST = {'mmcv', 'mmdet', 'mmengine'}
REGISTERED = {
    path
    for path in PACKAGE.rglob('*.py') if 'register_module' in path.read_text()
}
#: Above the rooms: they may know the host and everything below.
ENTRANCE = {
    PACKAGE / name
    for name in ('__init__.py', 'compat.py', 'host.py', 'launch.py')
}
#: Between the host and what is registered: knows the host, registers nothing.
HOST_SIDE = {PACKAGE / 'models/postprocess.py'}
FILES = sorted(PACKAGE.rglob('*.py'))


def imported_modules(path):
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[:len(package) - node.level + 1]
            yield '.'.join(base + tuple((node.module or '').split('.')))
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_there_are_registered_and_pure_files():
    names = {path.name for path in REGISTERED}
    assert {'losses.py', 'bbox_head.py', 'samplers.py',
            'lvis_metric.py'} <= names
    assert PACKAGE / 'models' / 'functional.py' in FILES


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_imports_follow_the_house(path):
    modules = set(imported_modules(path))
    assert not {m.split('.')[0] for m in modules} & {'tools', 'tests'}
    if path in ENTRANCE:
        return
    registered = {
        '.'.join(p.relative_to(PACKAGE.parent).with_suffix('').parts)
        for p in REGISTERED
    }
    assert not modules & registered, 'registered files meet in a config'
    if path not in REGISTERED | HOST_SIDE:
        assert not {m.split('.')[0] for m in modules} & HOST, 'not pure'


@pytest.mark.parametrize('folder', FILES, ids=lambda p: p.stem)
def test_rooms_are_flat_and_have_names(folder):
    parts = folder.relative_to(PACKAGE).parts
    assert len(parts) <= 2
    assert parts[0] in ('datasets', 'models', 'evaluation') or len(parts) == 1
