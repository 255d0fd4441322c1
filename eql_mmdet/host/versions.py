"""Is the host stack there, and of a version that works?"""
import importlib
import importlib.util
from types import ModuleType

INSTALL = 'run "make env", or see "Install" in the README of eql_mmdet'
#: Module -> lowest version that works, first version that is not supported.
SUPPORTED = dict(
    torch=('2.1', '3.0'),
    mmengine=('0.10.0', '0.11.0'),
    mmcv=('2.1.0', '2.4.0'),
    mmdet=('3.3.0', '3.6.0'))


def check_host() -> None:
    """Say in one sentence what is wrong with the installed host stack.

    Where mmcv has no compiled operators, ours take their place; they must
    be there before anything of mmdet is imported that asks for them.

    Raises:
        ImportError: If torch, mmengine, mmcv, mmdet or lvis are missing,
            broken or of an unsupported version, or compiled operators of
            mmcv cannot be loaded.
    """
    for name, (low, high) in SUPPORTED.items():
        _require(name, INSTALL)
        version = _version(name)
        if not _numbers(low) <= _numbers(version) < _numbers(high):
            raise ImportError(f'eql_mmdet works with {name} >= {low}, < '
                              f'{high}, but {version} is installed; {INSTALL}')
    # Not before torch and mmengine were found.
    from .ops import build_command, install_operators
    install_operators()
    _require(
        'mmcv._ext', f'the operators of mmcv were compiled for another torch: '
        f'run "{build_command()}"')
    _require('lvis', 'run "pip install lvis"')
    # mmengine 0.10.7 finds 'mmdet::...' configs through pkg_resources, which
    # setuptools 82 removed.
    if (_numbers(_version('mmengine')) < (0, 10, 8)
            and importlib.util.find_spec('pkg_resources') is None):
        raise ImportError(
            'eql_mmdet: mmengine needs pkg_resources, which this setuptools '
            'no longer has: run "pip install \'setuptools<81\'"')


def _require(name: str, mend: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # mmdet asserts the versions of mmcv and mmengine when it is imported.
    except (ImportError, AssertionError) as error:
        raise ImportError(
            f'eql_mmdet cannot import {name} ({error}); {mend}') from error


def _version(name: str) -> str:
    return importlib.import_module(name).__version__


def _numbers(version: str) -> tuple:
    parts = version.split('+')[0].split('.')[:3]
    return tuple(int(''.join(filter(str.isdigit, p)) or 0) for p in parts)
