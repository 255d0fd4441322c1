"""The one reader of annotation files: each is read and checked once."""
import gc
import mmap
import os
import stat
from contextlib import contextmanager
from functools import lru_cache
from typing import Iterator, Optional, Union

from .annotations import Annotations
from .records import decode

#: Files that a process keeps: training, validation, test, and one more.
KEPT = 4


def read_annotations(path: Union[str, os.PathLike]) -> Annotations:
    """Read a COCO or LVIS file, once a process.

    Args:
        path: A local JSON file.

    Returns:
        What it says; the same object as long as the file is the same.

    Raises:
        ValueError: If it cannot be read, is damaged, or says something that
            would make a training or an evaluation silently wrong; it names
            the file, the place and what to do.
    """
    path = os.fspath(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not os.path.isdir(path):
            raise OSError('it is no regular file, which masks are read from')
        return _read(path, os.path.realpath(path), status.st_mtime_ns,
                     status.st_size)
    except OSError as error:
        raise ValueError(f'cannot read the annotation file "{path}": '
                         f'{error.strerror or error}') from error


@lru_cache(maxsize=KEPT)
def _read(path: str, real_path: str, *stamp: int) -> Annotations:
    with open(real_path, 'rb') as file:
        if not os.fstat(file.fileno()).st_size:
            return parse_annotations(b'', path)
        # Mapped, not read: its memory is the system's, once for all ranks.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return parse_annotations(data, path, real_path)


def parse_annotations(data: Union[bytes, mmap.mmap],
                      name: str,
                      local_path: Optional[str] = None) -> Annotations:
    """Take apart what an annotation file holds.

    Args:
        data: JSON text.
        name: Of the file, for messages.
        local_path: Where the same bytes can be read again; by default they
            are kept in memory for the masks.

    Returns:
        What it says.

    Raises:
        ValueError: As for :func:`read_annotations`.
    """
    with _without_collections():
        record, decoded = decode(data, name)
        same = local_path and decoded is data
        source = local_path if same else bytes(decoded)
        return Annotations(record, name, source, decoded)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Leave the garbage collector alone: it would look at each record."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
