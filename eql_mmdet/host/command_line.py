"""How our tools end."""
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
