"""What the host stack needs on current torch, numpy and CPU-only machines.

Each fix names its reason and the version that ends it, and does nothing
where it is not needed. Importing ``eql_mmdet`` applies them all; the configs
do that through ``custom_imports``, so the host's own tools have them too.
"""
from typing import Any

import lvis.eval
import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel

from .checkpoints import load_checkpoints_safely
from .saving import save_checkpoints_whole


def apply_fixes() -> None:
    """Apply every fix that this environment needs; safe to call again."""
    give_lvis_its_float()
    load_checkpoints_safely()
    save_checkpoints_whole()
    run_distributed_on_cpu()


class _NumpyWithFloat:
    """Numpy as ``lvis`` knows it: with the alias ``np.float``."""
    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def give_lvis_its_float() -> None:
    """Let ``lvis`` accumulate on numpy 1.24 and newer.

    ``LVISEval.accumulate`` of lvis 0.5.3 uses ``np.float``, which numpy 1.24
    removed. Only the name ``np`` inside ``lvis.eval`` is changed. Ends with
    the first lvis release that writes ``float``.
    """
    if lvis.eval.np is np and not hasattr(np, 'float'):
        lvis.eval.np = _NumpyWithFloat()


def run_distributed_on_cpu() -> None:
    """Let ``--launcher pytorch`` run gloo processes where CUDA is missing.

    mmengine's ``init_dist`` calls ``torch.cuda.set_device`` whatever the
    backend, and its runner hands ``device_ids=[rank]`` to DDP, which CPU
    models refuse. Does nothing where there is an accelerator. Ends when
    mmengine asks for the device first.
    """
    if get_device() != 'cpu':
        return
    dist_utils._init_dist_pytorch = _init_gloo
    if not hasattr(MMDistributedDataParallel.__init__, 'host_init'):
        _drop_device_ids(MMDistributedDataParallel)


def _init_gloo(backend: str, init_backend: str = 'torch', **kwargs) -> None:
    torch.distributed.init_process_group('gloo', **kwargs)
    if torch.distributed.get_rank() == 0:
        print_log(f'No accelerator: {torch.distributed.get_world_size()} '
                  f'gloo processes share the CPU instead of "{backend}"')


def _drop_device_ids(wrapper: type) -> None:
    host_init = wrapper.__init__

    def init(self, module, *args, **kwargs):
        kwargs['device_ids'] = None
        host_init(self, module, *args, **kwargs)

    init.host_init = host_init
    wrapper.__init__ = init
