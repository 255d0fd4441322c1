"""Checkpoints are read without running code that may be in them."""
import os
import os.path as osp
import pickle
from collections import Counter
from typing import IO, Any, Callable, Dict, List, Optional, Union
from urllib.parse import urlparse

import mmengine.runner.checkpoint as host_checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from .old_torch import load_with_names


def checkpoint_names() -> Dict[str, Any]:
    """List what mmengine checkpoints hold besides tensors and builtins.

    Returns:
        Name in a file -> what it stands for: types and constructors of the
        training log (``HistoryBuffer``), of the numpy values in it, by what
        numpy 1 and numpy 2 call them, and of schedules.
    """
    # Where they live differs; numpy 1.26 has an empty numpy._core as well.
    makers = [value.__reduce__()[0] for value in (np.empty(0), np.float64())]
    kinds: List[Any] = [
        np.float64, np.float32, np.int64, np.int32, np.uint32, np.uint8,
        np.bool_
    ]
    # Counter: milestones of a schedule, which torch 2.1 does not know.
    types = [HistoryBuffer, Counter, np.ndarray, np.dtype]
    types += [type(np.dtype(kind)) for kind in kinds]
    names = {f'{t.__module__}.{t.__name__}': t for t in types}
    for core in ('numpy.core', 'numpy._core'):
        for maker in makers:
            names[f'{core}.multiarray.{maker.__name__}'] = maker
    return {**names, 'builtins.getattr': _history_method}


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``: HistoryBuffer pickles its four methods."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'getattr({owner}, {name!r}) is not allowed')


class _SafeTorch:
    """``torch`` as the host's checkpoint loaders know it, but safe."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Union[str, IO], map_location: Any = None, **kwargs) -> dict:
        """Load safely, whatever the host asks for."""
        return load_safely(file, map_location)


def load_checkpoints_safely() -> None:
    """Read checkpoints without running code, wherever they come from.

    Before torch 2.6 ``torch.load`` runs any code in a file. From then on it
    refuses types it does not know, and mmengine 0.10.7 does not introduce
    its own, so that neither ``--resume`` nor ``tools/test.py`` can read what
    training wrote; onedl-mmengine 0.10.12 falls back to unsafe loading
    instead. And both load what an address points to (``http://``,
    ``torchvision://``, ``open-mmlab://``, ``s3://`` and others) without any
    check. All of it goes through the names ``torch.load`` and ``load_url``
    of one module, which are changed. Ends when the host loads with
    ``weights_only=True``, its own list of types and no way around it.
    """
    host_checkpoint.torch = _SafeTorch()
    host_checkpoint.load_url = load_url
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
    filename = osp.expanduser(filename)
    if not osp.isfile(filename):
        raise FileNotFoundError(f'there is no checkpoint "{filename}"')
    return load_safely(filename, map_location)


def load_url(url: str,
             model_dir: Optional[str] = None,
             map_location: Any = None,
             progress: bool = True,
             **kwargs) -> dict:
    """Download a checkpoint into torch's cache and read it safely.

    Args:
        url: Of the file.
        model_dir: Folder; torch's by default.
        map_location: As in ``torch.load``.
        progress: Whether to show a bar.
        **kwargs: Not used.

    Returns:
        What the file holds.

    Raises:
        OSError: If it cannot be downloaded.
        ValueError: As for :func:`load_local_checkpoint`.
    """
    folder = model_dir or osp.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    path = osp.join(folder, osp.basename(urlparse(url).path))
    if not osp.exists(path):
        # Whole or not there: it is renamed when it has arrived.
        try:
            torch.hub.download_url_to_file(url, path, progress=progress)
        except OSError as error:
            raise OSError(f'cannot download "{url}": {error}') from error
    return load_safely(path, map_location, f'{url} (in {path})')


def load_safely(file: Union[str, IO],
                map_location: Any = None,
                name: Optional[str] = None) -> dict:
    """Read tensors, builtins and mmengine's log from a file.

    Args:
        file: Path or open file.
        map_location: As in ``torch.load``.
        name: For messages; by default the path.

    Returns:
        What the file holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds any other type or is damaged.
    """
    try:
        return _load(file, map_location)
    except OSError:
        raise  # of the disk, not of what is on it
    except Exception as error:  # A damaged checkpoint can raise anything.
        # torch's message goes on to recommend loading it all the same.
        unsaid = type(error).__name__.replace('EOFError', 'it ends too early')
        lines = str(error).splitlines() or [unsaid]
        marks = ('WeightsUnpickler error', 'GLOBAL')
        reason = next(
            (line.strip() for line in lines if any(m in line for m in marks)),
            lines[0])
        name = name or getattr(file, 'name', None) or str(file)
        raise ValueError(
            f'expected a checkpoint of tensors and training logs, but '
            f'"{name}" is damaged or holds something else, which could run '
            f'code when loaded ({reason.split(". ")[0]})') from error


def _load(file: Union[str, IO], map_location: Any) -> dict:
    names = checkpoint_names()
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):
        return load_with_names(file, map_location, names)
    known = [(value, name) for name, value in names.items()]
    with torch.serialization.safe_globals(known):
        return torch.load(file, map_location=map_location, weights_only=True)
