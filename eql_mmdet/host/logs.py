"""Words for the log of the host."""
import logging
from typing import Iterable

from mmengine.logging import print_log


def warn_each(texts: Iterable[str]) -> None:
    """Log warnings, a record each.

    The host's logger leaves out a warning that it has had before, so that
    losses, data sets and metrics may all say what they know of a file.

    Args:
        texts: The warnings.
    """
    for text in texts:
        print_log(text, logger='current', level=logging.WARNING)
