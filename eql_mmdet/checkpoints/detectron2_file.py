"""Writing checkpoints as detectron2 and mmdet read them."""
import os
import pickle
from typing import Any, Mapping, Sequence

import torch

from ..host.files import whole_file


def check_target(path: str, suffixes: Sequence[str]) -> None:
    """Refuse to write where something is, or what cannot be written.

    Args:
        path: The file that will be written.
        suffixes: How it may end.

    Raises:
        FileExistsError: If there is such a file.
        ValueError: If it ends otherwise.
    """
    if not path.endswith(tuple(suffixes)):
        raise ValueError(f'expected a file to write that ends in '
                         f'{" or ".join(suffixes)}, but got "{path}"')
    if os.path.lexists(path):
        raise FileExistsError(
            f'"{path}" is already there; remove it or choose another')


def write_checkpoint(path: str, checkpoint: Mapping[str, Any]) -> None:
    """Write a new file, whole or not at all.

    Args:
        path: ``.pth`` for torch's format. ``.pkl`` for a pickle with
            numpy arrays under ``'model'``; its ``'__author__'`` tells
            detectron2 that the names are its own and not those of Caffe2.
        checkpoint: What to write; for ``.pkl``, tensors under ``'model'``.

    Raises:
        FileExistsError: If there is such a file.
        ValueError: If the path ends otherwise.
    """
    check_target(path, ('.pth', '.pkl'))
    with whole_file(path, 'wb', replace=False) as file:
        if path.endswith('.pth'):
            torch.save(dict(checkpoint), file)
        else:
            arrays = {k: v.numpy() for k, v in checkpoint['model'].items()}
            pickle.dump(
                dict(model=arrays, __author__='eql_mmdet'), file, protocol=4)
