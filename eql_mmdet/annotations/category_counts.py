"""How often each category occurs: counting, reading and writing."""
import csv
import io
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np

from .annotations import Annotations
from .findings import Finding
from .names import canonical, check_names
from .reader import read_annotations
from .training import check_left, trained_pairs, training_view

#: Tables that ship with the package: LVIS training splits.
PACKAGED_TABLES = ('lvis_v0.5', 'lvis_v1')
_TABLE_DIR = Path(__file__).parent / 'counts'
_COLUMNS = ('id', 'name', 'frequency', 'image_count', 'instance_count')
#: Letters of rare, common and frequent.
GROUPS = ('r', 'c', 'f')
#: LVIS: rare is at most 10 training images, common at most 100.
GROUP_BOUNDS = (10, 100)


@dataclass(frozen=True)
class CategoryCounts:
    """How often each of K categories occurs in a training set.

    The order is the order of the labels: label k is the k-th category.

    Attributes:
        source: Where the counts come from, for messages.
        num_images: Images with at least one object that is trained, the
            denominator of every frequency.
        ids: K category ids of the annotation file.
        names: K category names.
        groups: K letters, ``'r'``, ``'c'`` or ``'f'``.
        image_count: (K,) int64, images that contain the category.
        instance_count: (K,) int64, annotated instances.
        findings: What of an annotation file does not count, and why.
    """
    source: str
    num_images: int
    ids: Tuple[int, ...]
    names: Tuple[str, ...]
    groups: Tuple[str, ...]
    image_count: np.ndarray
    instance_count: np.ndarray
    findings: Tuple[Finding, ...] = ()


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


def count_annotations(
        annotations: Annotations,
        classes: Optional[Sequence[str]] = None) -> CategoryCounts:
    """Count images and instances per category: what the host trains on.

    Args:
        annotations: The file.
        classes: Names in label order; by default all categories in the
            order of the file.

    Returns:
        The counts in label order. A category may have none.

    Raises:
        ValueError: If nothing is left to train on, or the file lacks a
            class.
    """
    label_map = annotations.label_map(classes)
    view = training_view(annotations, label_map)
    check_left(annotations, view)
    size = int(label_map.max()) + 1
    pairs = trained_pairs(annotations, view)
    images = np.bincount(pairs[:, 1], minlength=size).astype(np.int64)
    order = np.argsort(label_map)[-size:]
    chosen = [annotations.categories[k] for k in order]
    return CategoryCounts(
        source=annotations.path,
        num_images=len(np.unique(pairs[:, 0])),
        ids=tuple(category.id for category in chosen),
        names=tuple(category.name for category in chosen),
        groups=tuple(
            category.frequency if category.frequency in
            GROUPS else frequency_group(n)
            for category, n in zip(chosen, images)),
        image_count=images,
        instance_count=np.bincount(
            view.labels[view.is_trained], minlength=size).astype(np.int64),
        findings=(*annotations.findings, *view.findings))


def choose_counts(counts: CategoryCounts,
                  classes: Optional[Sequence[str]]) -> CategoryCounts:
    """Take the counts of some categories, by name.

    Args:
        counts: Of a table; its images stay the denominator.
        classes: Names in label order; None for all.

    Returns:
        The counts in the order of the names.

    Raises:
        ValueError: If the table lacks a name.
    """
    if classes is None or tuple(classes) == counts.names:
        return counts
    row = {name: k for k, name in enumerate(counts.names)}
    classes = canonical(check_names(classes))
    unknown = [name for name in classes if name not in row]
    if unknown:
        raise ValueError(
            f'"{unknown[0]}" is not among the {len(row)} categories of '
            f'{counts.source}: {", ".join(counts.names[:20])}; take the '
            f'counts of the set that is trained')
    rows = [row[name] for name in classes]
    return CategoryCounts(
        source=counts.source,
        num_images=counts.num_images,
        ids=tuple(counts.ids[k] for k in rows),
        names=tuple(classes),
        groups=tuple(counts.groups[k] for k in rows),
        image_count=counts.image_count[rows],
        instance_count=counts.instance_count[rows])


def is_there(source: Union[str, Path]) -> bool:
    """Tell whether counts can be read now.

    Args:
        source: As for :func:`load_counts`.

    Returns:
        False only for the path of a file that does not exist.
    """
    path = Path(str(source))
    return (str(source) in PACKAGED_TABLES
            or path.suffix not in ('.csv', '.json') or path.exists())


def class_names(source: Union[str, Path]) -> Tuple[str, ...]:
    """List the categories of a table or an annotation file in its order.

    Args:
        source: As for :func:`load_counts`; an annotation file may be of a
            test set.

    Returns:
        The names.

    Raises:
        ValueError: If the source cannot be read.
    """
    if str(source).endswith('.json'):
        return read_annotations(str(source)).names
    return load_counts(source).names


def load_counts(source: Union[str, Path],
                classes: Optional[Sequence[str]] = None) -> CategoryCounts:
    """Read category counts from a table or an annotation file.

    Args:
        source: ``'lvis_v0.5'`` or ``'lvis_v1'`` (packaged tables), the path
            of a COCO/LVIS annotation file (``.json``), or the path of a
            counts file (``.csv``) as ``tools/count_classes.py`` writes it.
        classes: Names in label order; by default all of the source.

    Returns:
        The counts in label order.

    Raises:
        ValueError: If the file does not exist, cannot be read or holds no
            counts, or lacks a class.
    """
    source = str(source)
    path = Path(source)
    if source in PACKAGED_TABLES:
        path = _TABLE_DIR / f'{source}.csv'
    elif path.suffix not in ('.csv', '.json'):
        raise ValueError(f'expected one of {PACKAGED_TABLES}, a .json '
                         f'annotation file or a .csv counts file, but got '
                         f'"{source}"')
    if path.suffix == '.json':
        return count_annotations(read_annotations(source), classes)
    try:
        text = path.read_bytes().decode('utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'cannot read category counts from "{source}": '
                         f'{getattr(error, "strerror", error)}') from error
    return choose_counts(_parse_table(text, source), classes)


def _parse_table(text: str, source: str) -> CategoryCounts:
    lines = list(io.StringIO(text, newline=''))
    if lines and not lines[-1].endswith(('\n', '\r')):
        # What is left of a number is a number too.
        raise ValueError(
            f'expected a counts file of whole lines, but {source} ends within '
            f'"{lines[-1]}"; write it again with tools/count_classes.py, or '
            f'end this line')
    header = list(takewhile(lambda line: line.startswith('#'), lines))
    num_images, num_rows = (
        _stated(header, name) for name in ('num_images', 'num_categories'))
    rows = list(csv.DictReader(lines[len(header):]))
    if len(num_images) != 1 or not rows or tuple(rows[0]) != _COLUMNS:
        raise ValueError(
            f'expected a counts file with one line "# num_images: N" and the '
            f'columns {",".join(_COLUMNS)}, but {source} begins with '
            f'{lines[:2]}; write one with tools/count_classes.py')
    try:
        counts = CategoryCounts(
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
    if num_rows not in ([], [str(len(rows))]):
        raise ValueError(
            f'expected {" and ".join(num_rows)} categories, as {source} says '
            f'in its first lines, but it has {len(rows)}: it is cut off or '
            f'was changed; write it again with tools/count_classes.py')
    _check_table(counts)
    return counts


def _stated(header: List[str], name: str) -> List[str]:
    """List what the lines ``# NAME: VALUE`` say."""
    return [
        line.split(':')[1].strip() for line in header
        if line[1:].strip().startswith(f'{name}:')
    ]


def _check_table(counts: CategoryCounts) -> None:
    check_names(counts.names)
    for row, (name, group, images, instances) in enumerate(
            zip(counts.names, counts.groups, counts.image_count,
                counts.instance_count)):
        if group not in GROUPS or not 0 <= images <= instances or (
                images > counts.num_images):
            raise ValueError(
                f'expected a group of r, c or f and counts that rise from '
                f'image_count to instance_count, with no more than '
                f'{counts.num_images} images, but row {row} of '
                f'{counts.source} is "{name}", {group}, {images}, '
                f'{instances}; write the file with tools/count_classes.py')


def format_counts(counts: CategoryCounts) -> str:
    """Write counts as the text of a counts file.

    Args:
        counts: What to write.

    Returns:
        CSV text that :func:`load_counts` reads back.
    """
    lines = [
        f'# num_images: {counts.num_images}',
        f'# num_categories: {len(counts.names)}', ','.join(_COLUMNS)
    ]
    for fields in zip(counts.ids, counts.names, counts.groups,
                      counts.image_count, counts.instance_count):
        name = fields[1]
        if any(mark in name for mark in ',"\n\r'):
            name = '"' + name.replace('"', '""') + '"'
        lines.append(','.join([str(fields[0]), name, *map(str, fields[2:])]))
    return '\n'.join(lines) + '\n'
