"""Where the host lets others look at a config before it is used."""
import copy
from typing import Any, Callable

from mmengine.config import Config
from mmengine.runner import Runner


def watch_configs(fill: Callable[[Any], None],
                  complete: Callable[[Any], None]) -> None:
    """Have every config filled in when it is read, and completed for a run.

    mmengine has no hook for either. A config that names ``eql_mmdet`` in its
    ``custom_imports`` is filled in too, the first one of a process included:
    mmengine imports what a config names before it makes the ``Config``.

    Args:
        fill: Is given every new ``Config``; as ``init_detector`` builds the
            model from.
        complete: Is given a copy of the config of every runner, before
            anything is built from it.
    """
    if not hasattr(Config.__init__, 'host_init'):
        _watch_init(fill)
        _watch_runner(complete)


def _watch_init(fill: Callable[[Any], None]) -> None:
    host_init = Config.__init__

    def init(self, *args, **kwargs):
        host_init(self, *args, **kwargs)
        fill(self)

    init.host_init = host_init
    Config.__init__ = init


def _watch_runner(complete: Callable[[Any], None]) -> None:
    host_from_cfg = Runner.from_cfg.__func__

    def from_cfg(cls, cfg):
        cfg = copy.deepcopy(cfg)
        complete(cfg)
        return host_from_cfg(cls, cfg)

    from_cfg.__doc__ = host_from_cfg.__doc__
    Runner.from_cfg = classmethod(from_cfg)
