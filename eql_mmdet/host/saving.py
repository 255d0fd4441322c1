"""Checkpoints are whole or not there, and the last one is always found."""
import os
import re
from functools import wraps
from pathlib import Path
from typing import Any, Callable, List, Optional, Union

import mmengine.runner.runner as host_runner
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log

from .files import whole_file


def save_checkpoints_whole() -> None:
    """Let a training be killed at any moment, that of saving included.

    mmengine 0.10 writes a checkpoint in its place, removes the one before
    the new one is written (``max_keep_ckpts``, ``save_best``), and goes by
    the name in ``last_checkpoint``, which can be cut off. Here the file is
    renamed when it is complete, removing waits for that, and a name that
    leads nowhere is mended from the folder. Ends when mmengine does that.
    """
    if not hasattr(LocalBackend.put, 'host_put'):
        _put_whole()
        for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
            host_save = getattr(CheckpointHook, name)
            setattr(CheckpointHook, name, _remove_afterwards(host_save))
        host_runner.find_latest_checkpoint = find_last_checkpoint


def _put_whole() -> None:
    host_put = LocalBackend.put

    @wraps(host_put)
    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write as the host does, but rename the file when it is whole."""
        if os.path.exists(filepath) and not os.path.isfile(filepath):
            host_put(self, obj, filepath)  # a device stays one
            return
        with whole_file(filepath, 'wb') as file:
            file.write(obj)

    put.host_put = host_put
    LocalBackend.put = put


class _LaterBackend:
    """A file backend that notes what it is to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removals: List[tuple] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.removals.append((self._backend.rmtree, path))


def _remove_afterwards(host_save: Callable) -> Callable:

    @wraps(host_save)
    def save(self, *args, **kwargs) -> Any:
        """Save as the host does, and remove what is too many after that."""
        backend = self.file_backend
        self.file_backend = later = _LaterBackend(backend)
        try:
            result = host_save(self, *args, **kwargs)
        finally:
            self.file_backend = backend
        # A resumed run may have written under the same name again.
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None)}
        kept.update(getattr(self, 'best_ckpt_path_dict', {}).values())
        for remove, path in later.removals:
            if path not in kept:
                remove(path)
        return result

    return save


def find_last_checkpoint(path: str) -> Optional[str]:
    """Find where a run is to be resumed.

    Args:
        path: Its work folder.

    Returns:
        The checkpoint that ``last_checkpoint`` names; if there is no such
        file, the one of the folder with the highest number; None if there
        is nothing to resume.
    """
    note = Path(path, 'last_checkpoint')
    named = note.read_text().strip() if note.is_file() else ''
    # A folder is a checkpoint of DeepSpeed if it lies in the work folder, or
    # what is left of a path that was cut off.
    inside = Path(path).resolve() in Path(named).resolve().parents
    if os.path.isfile(named) or (inside and os.path.isdir(named)):
        return named
    numbered = [
        (int(match[2]), str(file)) for file in Path(path).glob('*.pth')
        if (match := re.fullmatch(r'(epoch|iter)_(\d+)\.pth', file.name))
    ]
    if not numbered:
        return named or None  # which the host refuses, or starts anew
    found = max(numbered)[1]
    print_log(
        f'{note} leads to "{named}", which is not there; {found} is the last '
        f'checkpoint of this folder',
        logger='current')
    return found
