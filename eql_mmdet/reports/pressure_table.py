"""What ``CategoryPressureHook`` has written, added up by category."""
import csv
from typing import Dict, NamedTuple


class PressureSum(NamedTuple):
    """The gradient of one category over a whole training.

    Attributes:
        up: Towards higher scores.
        down_foreground: Towards lower scores, from RoIs of other categories.
        down_background: The same from background RoIs.
    """
    up: float
    down_foreground: float
    down_background: float


def read_pressure(path: str) -> Dict[str, PressureSum]:
    """Read ``category_pressure.csv``.

    Args:
        path: The file.

    Returns:
        Category name -> its sums over all iterations of the file.

    Raises:
        ValueError: If the file is not such a table.
    """
    sums: Dict[str, PressureSum] = {}
    with open(path, newline='', encoding='utf-8') as file:
        rows = csv.DictReader(file)
        if not {'name', *PressureSum._fields} <= set(rows.fieldnames or ()):
            raise ValueError(
                f'expected "{path}" to have the columns name, '
                f'{", ".join(PressureSum._fields)} of CategoryPressureHook, '
                f'but it has {", ".join(rows.fieldnames or ()) or "none"}; '
                f'take the file away to leave the gradients out')
        for row in rows:
            before = sums.get(row['name'], PressureSum(0., 0., 0.))
            try:
                added = [float(row[key]) for key in PressureSum._fields]
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f'"{path}", line {rows.line_num}, is not whole; take the '
                    f'line or the file away') from error
            sums[row['name']] = PressureSum(*(a + b
                                              for a, b in zip(before, added)))
    return sums
