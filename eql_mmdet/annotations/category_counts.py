"""How often each category occurs: counting, reading and writing."""
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple, Union

import numpy as np

#: Tables that ship with the package: LVIS training splits.
PACKAGED_TABLES = ('lvis_v0.5', 'lvis_v1')
_TABLE_DIR = Path(__file__).parent / 'counts'
_COLUMNS = ('id', 'name', 'frequency', 'image_count', 'instance_count')
#: LVIS: rare is at most 10 training images, common at most 100.
GROUP_BOUNDS = (10, 100)


@dataclass(frozen=True)
class CategoryCounts:
    """How often each of K categories occurs in a training set.

    The order is the order of the labels: label k is the k-th category.

    Attributes:
        source: Where the counts come from, for messages.
        num_images: Images with at least one annotation, the denominator of
            every frequency.
        ids: K category ids of the annotation file.
        names: K category names.
        groups: K letters, ``'r'``, ``'c'`` or ``'f'``.
        image_count: (K,) int64, images that contain the category.
        instance_count: (K,) int64, annotated instances.
    """
    source: str
    num_images: int
    ids: Tuple[int, ...]
    names: Tuple[str, ...]
    groups: Tuple[str, ...]
    image_count: np.ndarray
    instance_count: np.ndarray


def frequency_group(image_count: int) -> str:
    """Name the LVIS group of a category with so many training images.

    Args:
        image_count: Training images that contain the category.

    Returns:
        ``'r'`` up to 10 images, ``'c'`` up to 100, else ``'f'``.
    """
    rare, common = GROUP_BOUNDS
    if image_count <= rare:
        return 'r'
    return 'c' if image_count <= common else 'f'


def count_annotations(dataset: dict, source: str) -> CategoryCounts:
    """Count images and instances per category of a COCO/LVIS dictionary.

    Crowd regions are left out, since the host trains no box on them.

    Args:
        dataset: Parsed annotation file with ``categories`` and
            ``annotations``.
        source: Name of the file, for messages.

    Returns:
        The counts, in the order of ``categories``, which is the order in
        which MMDetection numbers its labels.

    Raises:
        ValueError: If a key is missing or an annotation names a category
            that the file does not list.
    """
    for key in ('categories', 'annotations'):
        if key not in dataset:
            raise ValueError(f'expected a COCO/LVIS annotation file with the '
                             f'key "{key}", but {source} has only '
                             f'{sorted(dataset)[:8]}')
    categories = dataset['categories']
    row = {category['id']: k for k, category in enumerate(categories)}
    instances = np.zeros(len(row), dtype=np.int64)
    pairs = set()
    for annotation in dataset['annotations']:
        if annotation.get('iscrowd', 0):
            continue
        if annotation['category_id'] not in row:
            raise ValueError(
                f'annotation {annotation.get("id")} of {source} has category '
                f'{annotation["category_id"]}, which is not among its '
                f'{len(row)} categories')
        k = row[annotation['category_id']]
        instances[k] += 1
        pairs.add((k, annotation['image_id']))
    images = np.bincount([k for k, _ in pairs],
                         minlength=len(row)).astype(np.int64)
    return CategoryCounts(
        source=source,
        num_images=len({image
                        for _, image in pairs}),
        ids=tuple(row),
        names=tuple(str(c.get('name', c['id'])) for c in categories),
        groups=tuple(
            c.get('frequency') or frequency_group(n)
            for c, n in zip(categories, images)),
        image_count=images,
        instance_count=instances)


def load_counts(source: Union[str, Path]) -> CategoryCounts:
    """Read category counts from a table or an annotation file.

    Args:
        source: ``'lvis_v0.5'`` or ``'lvis_v1'`` (packaged tables), the path
            of a COCO/LVIS annotation file (``.json``), or the path of a
            counts file (``.csv``) as ``tools/count_classes.py`` writes it.

    Returns:
        The counts in label order.

    Raises:
        ValueError: If the file does not exist, cannot be read or holds no
            counts.
    """
    source = str(source)
    path = Path(source)
    if source in PACKAGED_TABLES:
        path = _TABLE_DIR / f'{source}.csv'
    elif path.suffix not in ('.csv', '.json'):
        raise ValueError(f'expected one of {PACKAGED_TABLES}, a .json '
                         f'annotation file or a .csv counts file, but got '
                         f'"{source}"')
    try:
        text = path.read_text(encoding='utf-8')
        if path.suffix == '.csv':
            return _parse_table(text, source)
        return count_annotations(json.loads(text), source)
    except OSError as error:
        raise ValueError(f'cannot read category counts from "{source}": '
                         f'{error.strerror or error}') from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'expected an annotation file in JSON, but '
                         f'"{source}" is not: {error}') from error


def _parse_table(text: str, source: str) -> CategoryCounts:
    lines = text.splitlines()
    header = [line[1:].strip() for line in lines if line.startswith('#')]
    num_images = [
        line.split(':')[1] for line in header if line.startswith('num_images:')
    ]
    rows = list(
        csv.DictReader(line for line in lines if not line.startswith('#')))
    if len(num_images) != 1 or not rows or tuple(rows[0]) != _COLUMNS:
        raise ValueError(
            f'expected a counts file with one line "# num_images: N" and the '
            f'columns {",".join(_COLUMNS)}, but {source} begins with '
            f'{lines[:2]}; write one with tools/count_classes.py')
    try:
        return CategoryCounts(
            source=source,
            num_images=int(num_images[0]),
            ids=tuple(int(row['id']) for row in rows),
            names=tuple(row['name'] for row in rows),
            groups=tuple(row['frequency'] for row in rows),
            image_count=np.array([int(row['image_count']) for row in rows]),
            instance_count=np.array(
                [int(row['instance_count']) for row in rows]))
    except (TypeError, ValueError) as error:
        raise ValueError(f'expected whole numbers in {source}: '
                         f'{error}') from error


def format_counts(counts: CategoryCounts) -> str:
    """Write counts as the text of a counts file.

    Args:
        counts: What to write.

    Returns:
        CSV text that :func:`load_counts` reads back.
    """
    lines = [f'# num_images: {counts.num_images}', ','.join(_COLUMNS)]
    for fields in zip(counts.ids, counts.names, counts.groups,
                      counts.image_count, counts.instance_count):
        name = fields[1]
        if any(mark in name for mark in ',"\n'):
            name = '"' + name.replace('"', '""').replace('\n', ' ') + '"'
        lines.append(','.join([str(fields[0]), name, *map(str, fields[2:])]))
    return '\n'.join(lines) + '\n'
