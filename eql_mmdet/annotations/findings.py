"""What is odd about data: said before training, with a place and a mend."""
from typing import Iterable, List, NamedTuple


class Finding(NamedTuple):
    """Something that a person should know before the data are used.

    Attributes:
        what: A sentence without its full stop, with numbers.
        where: The first place.
        mend: What to do.
    """
    what: str
    where: str
    mend: str

    def __str__(self) -> str:
        return f'{self.what} (first: {self.where}); {self.mend}'


def list_findings(path: str, findings: Iterable[Finding]) -> List[str]:
    """Put findings into words for the log.

    Args:
        path: The file.
        findings: What is odd about it.

    Returns:
        A line each.
    """
    return [f'{path}: {finding}' for finding in findings]
