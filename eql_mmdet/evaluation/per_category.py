"""What was learned, category by category."""
import csv
from typing import Any, Dict, List, Optional

import numpy as np
from terminaltables import AsciiTable

from ..annotations.category_counts import GROUPS
from ..annotations.lvis_index import LVISIndex
from ..host.files import whole_file
from .curves import Curves, mean_or

GROUP_NAMES = dict(r='rare', c='common', f='frequent')
SHOWN = 3


def category_rows(index: LVISIndex,
                  curves: Dict[str, Curves]) -> List[Dict[str, Any]]:
    """Tabulate AP and AR of every category.

    Args:
        index: The annotation file.
        curves: Name of a metric, such as ``'bbox'`` -> its curves.

    Returns:
        One row a category, by id: id, name, frequency group, images of the
        training set, ground truths, and ``{metric}_AP`` and ``{metric}_AR``
        as fractions. What is unknown is None.
    """
    rows = []
    instances = index.instance_counts
    for column, position in enumerate(index.by_column()):
        images = index.image_counts[position]
        row = dict(
            id=index.category_ids[position],
            name=index.names[position],
            frequency=index.frequencies[position],
            image_count=images if images >= 0 else None,
            ground_truths=int(instances[position]))
        for metric, (precision, recall) in curves.items():
            row[f'{metric}_AP'] = _known(precision[:, :, column, 0])
            row[f'{metric}_AR'] = _known(recall[:, column, 0])
        rows.append(row)
    return rows


def _known(values: np.ndarray) -> Optional[float]:
    mean = mean_or(values, -1.0)
    return None if mean < 0 else mean


def write_rows(path: str, rows: List[Dict[str, Any]]) -> None:
    """Write rows as CSV, unknown values as empty fields.

    Args:
        path: The file.
        rows: Dicts with the same keys.
    """
    with whole_file(path, newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def group_table(rows: List[Dict[str, Any]]) -> str:
    """Summarise rows for the log: a line a group, with its extremes.

    Args:
        rows: Of ``category_rows``, with at least one metric.

    Returns:
        A text table in percent; best and worst by mask AP, if there is any.
    """
    aps = [key for key in rows[0] if key.endswith('_AP')]
    ranking = 'segm_AP' if 'segm_AP' in aps else aps[0]
    data = [[
        'AP in %', 'categories', 'with ground truth', *aps,
        f'best by {ranking}', 'worst'
    ]]
    for letter in GROUPS:
        group = [row for row in rows if row['frequency'] == letter]
        seen = [row for row in group if row[ranking] is not None]
        ranked = sorted(seen, key=lambda row: -row[ranking])
        data.append([
            GROUP_NAMES[letter],
            len(group),
            len(seen), *(_percent_mean(seen, ap) for ap in aps),
            _extremes(ranked[:SHOWN], ranking),
            _extremes(ranked[SHOWN:][-SHOWN:][::-1], ranking)
        ])
    return AsciiTable(data).table


def _percent_mean(rows: List[Dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    return f'{100 * sum(values) / len(values):.1f}' if values else '-'


def _extremes(rows: List[Dict[str, Any]], key: str) -> str:
    return ', '.join(f'{row["name"]} {100 * row[key]:.1f}'
                     for row in rows) or '-'
