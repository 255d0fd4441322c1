"""Files that are whole or not there."""
import os
from contextlib import contextmanager
from typing import IO, Iterator, Union


@contextmanager
def whole_file(path: Union[str, os.PathLike],
               mode: str = 'w',
               replace: bool = True,
               **kwargs) -> Iterator[IO]:
    """Write a file under another name, and give it its own when it is whole.

    Whatever interrupts the writing leaves an older file as it was, or none;
    after a killed process there is a hidden ``.part`` beside it, which
    stands in nobody's way.

    Args:
        path: The file. Folders that are missing are made.
        mode: ``'w'`` or ``'wb'``.
        replace: Whether an existing file may be replaced.
        **kwargs: Of ``open``; text is UTF-8 by default.

    Yields:
        The open file.

    Raises:
        FileExistsError: If there is such a file and it must stay.
    """
    # Of a link what it points to is replaced.
    path = (os.path.realpath if replace else os.path.abspath)(path)
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    if 'b' not in mode:
        kwargs.setdefault('encoding', 'utf-8')
    part = os.path.join(folder, f'.{name}.{os.getpid()}.part')
    try:
        with open(part, mode, **kwargs) as file:
            yield file
        if replace:
            os.replace(part, path)
        else:
            _name(part, path)
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def _name(part: str, path: str) -> None:
    try:
        os.link(part, path)
    except OSError as error:
        if os.path.lexists(path):
            raise FileExistsError(f'"{path}" is already there; remove it or '
                                  f'choose another') from error
        # Some file systems have no second names.
        os.replace(part, path)
