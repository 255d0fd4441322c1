"""How our tools end."""
import atexit
import os
import sys
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def one_line_refusals(program: str) -> Iterator[None]:
    """End refused input in one line, not in a traceback; also a decorator.

    Args:
        program: Name of the tool.

    Raises:
        SystemExit: For ``OSError``, ``TypeError`` and ``ValueError``, by
            which this package refuses what it is given; the status is 1.
    """
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(f'{program}: {error}') from error


def leave() -> None:
    """End the process of a tool that has done its work: with success.

    Threads of gloo now and then abort the interpreter at its end (``terminate
    called without an active exception``), which would look like a failure.
    What is registered with ``atexit`` runs; objects are not torn down.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
