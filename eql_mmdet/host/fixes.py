"""What the host stack needs on current torch, numpy and CPU-only machines.

Each fix names its reason and the version that ends it, and does nothing
where it is not needed. Importing ``eql_mmdet`` applies them all; the configs
do that through ``custom_imports``, so the host's own tools have them too.
"""
import os
import pickle
from typing import Any, Callable, List, Optional

import lvis.eval
import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import MMDistributedDataParallel
from mmengine.runner.checkpoint import CheckpointLoader


def apply_fixes() -> None:
    """Apply every fix that this environment needs; safe to call again."""
    give_lvis_its_float()
    load_checkpoints_safely()
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


def checkpoint_types() -> List[Any]:
    """List what mmengine checkpoints hold besides tensors and builtins.

    Returns:
        Types and constructors of the training log (``HistoryBuffer``) and
        of the numpy values in it.
    """
    multiarray = (getattr(np, '_core', None) or np.core).multiarray
    kinds = [
        np.float64, np.float32, np.int64, np.int32, np.uint32, np.uint8,
        np.bool_
    ]
    return [
        HistoryBuffer, (_history_method, 'builtins.getattr'), np.ndarray,
        np.dtype, multiarray._reconstruct, multiarray.scalar
    ] + [type(np.dtype(kind)) for kind in kinds]


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``: HistoryBuffer pickles its four methods."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'getattr({owner}, {name!r}) is not allowed')


def load_checkpoints_safely() -> None:
    """Read local checkpoints without running code that is in them.

    From torch 2.6 on ``torch.load`` refuses types it does not know, and
    mmengine 0.10.7 does not introduce its own, so that neither ``--resume``
    nor ``tools/test.py`` can read what training wrote; onedl-mmengine
    0.10.12 falls back to unsafe loading instead. Does nothing before torch
    2.6, where the host loads as it always did. Ends when the host loads with
    ``weights_only=True``, its own list of types and no way around it.
    """
    if tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6):
        CheckpointLoader.register_scheme(
            '', loader=load_local_checkpoint, force=True)


def load_local_checkpoint(filename: str,
                          map_location: Optional[str] = None) -> dict:
    """Read a checkpoint that holds tensors and mmengine's log, no more.

    Args:
        filename: Path of the checkpoint.
        map_location: As in ``torch.load``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds any other type or is damaged.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'there is no checkpoint "{filename}"')
    try:
        with torch.serialization.safe_globals(checkpoint_types()):
            return torch.load(
                filename, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        # torch's message goes on to recommend loading it all the same.
        lines = str(error).splitlines() or ['it is empty']
        marks = ('WeightsUnpickler error', 'GLOBAL')
        reason = next(
            (line.strip() for line in lines if any(m in line for m in marks)),
            lines[0])
        raise ValueError(
            f'expected a checkpoint of tensors and training logs, but '
            f'"{filename}" is damaged or holds something else, which could '
            f'run code when loaded ({reason.split(". ")[0]})') from error


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
