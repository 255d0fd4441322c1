"""Our configs as bases of others, wherever those are saved."""
from functools import lru_cache
from pathlib import Path
from typing import Optional, Tuple

from mmengine.config import Config

#: What the name of one of our configs begins with in ``_base_``.
PREFIX = 'eql_mmdet::'
#: Where OpenMMLab's packages keep their configs; in a clone a link.
CONFIG_DIR = Path(__file__).parents[1] / '.mim' / 'configs'


def find_own_configs() -> None:
    """Teach mmengine ``_base_ = 'eql_mmdet::NAME.py'``; safe to call again.

    mmengine takes such names only for the packages of its own list, and
    looks for those in an index of models. Ends when it takes any package
    with ``.mim/configs``.
    """
    host_path = Config._get_cfg_path
    if hasattr(host_path, 'host_path'):
        return

    @lru_cache(maxsize=None)
    def of_a_package(cfg_path: str) -> Tuple[str, Optional[str]]:
        """Ask the host once: it reads all of a package's metafiles."""
        return host_path(cfg_path, '')

    def get_cfg_path(cfg_path: str,
                     filename: str) -> Tuple[str, Optional[str]]:
        """Find ours by the prefix, and all others as the host does."""
        if cfg_path.startswith(PREFIX):
            # No scope: what we register is in the host's registries.
            return str(own_config(cfg_path[len(PREFIX):])), None
        if '::' in cfg_path:
            return of_a_package(cfg_path)
        return host_path(cfg_path, filename)

    get_cfg_path.host_path = host_path
    Config._get_cfg_path = staticmethod(get_cfg_path)


def own_config(name: str) -> Path:
    """Find a config that ships with the package.

    Args:
        name: Its path in ``configs``, such as ``'quick/eql_tiny_lvis.py'``.

    Returns:
        The file.

    Raises:
        ValueError: If there is none of that name.
    """
    folder = CONFIG_DIR.resolve()
    names = {p.relative_to(folder).as_posix() for p in folder.rglob('*.py')}
    if name not in names:
        shown = sorted(n for n in names if not n.startswith('_base_/'))
        raise ValueError(
            f'expected a config of this package after "{PREFIX}", but there '
            f'is no "{name}"; there are {", ".join(shown)}')
    return folder / name
