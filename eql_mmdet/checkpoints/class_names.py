"""Which categories the outputs of a detectron2 checkpoint stand for."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

from ..annotations.category_counts import load_counts
from ..annotations.names import check_names
from ..annotations.reader import read_annotations
from ..host.classes import coco_classes


class NamedClasses(NamedTuple):
    """The class names of a checkpoint, and how they were found.

    Args:
        names: K names in the order of the outputs; None if unknown.
        note: One sentence about them.
    """
    names: Optional[Tuple[str, ...]]
    note: str


def known_sets() -> Dict[str, Tuple[str, ...]]:
    """Name the categories of public sets in the order of detectron2's labels.

    Returns:
        Set -> its K names; no two have equally many.
    """
    return {
        'LVIS v0.5': load_counts('lvis_v0.5').names,
        'LVIS v1': load_counts('lvis_v1').names,
        'COCO': coco_classes()
    }


def read_names(source: str) -> Tuple[str, ...]:
    """Name the categories of a file in the order of detectron2's labels.

    Args:
        source: An annotation file (``.json``; a test set will do), a counts
            file (``.csv``), ``'lvis_v0.5'`` or ``'lvis_v1'``.

    Returns:
        The names by category id, whatever the order of the file: detectron2
        sorts the ids.

    Raises:
        ValueError: If the file cannot be read or is refused.
    """
    if source.endswith('.json'):
        pairs = [(c.id, c.name) for c in read_annotations(source).categories]
    else:
        counts = load_counts(source)
        pairs = list(zip(counts.ids, counts.names))
    return tuple(name for _, name in sorted(pairs))


def choose_names(numbers: Sequence[int],
                 classes: Optional[Sequence[str]] = None) -> NamedClasses:
    """Name the categories of a checkpoint.

    Args:
        numbers: The K that fit its tensors, one or two.
        classes: The names if they are known; else they are those of the one
            known set with such a K.

    Returns:
        The names, or None where no set fits, or more than one.

    Raises:
        TypeError: If ``classes`` is not a sequence of names.
        ValueError: If it has not K names, or one twice.
    """
    expected = ' or '.join(map(str, numbers))
    if classes is not None:
        names = check_names(classes)
        if len(names) not in numbers:
            raise ValueError(
                f'expected the names of the {expected} categories of the '
                f'checkpoint, but got {len(names)}: {_some(names)}; give '
                f'those of the set that it was trained on')
        return NamedClasses(names, f'class names, as given: {_some(names)}')
    sets = known_sets()
    fitting = [s for s, names in sets.items() if len(names) in numbers]
    if len(fitting) != 1:
        return NamedClasses(
            None, f'the file has no class names: {expected} categories are of '
            f'{" and of ".join(fitting) or "none of " + ", ".join(sets)}; '
            f'--classes ANN gives it those of an annotation file')
    names = sets[fitting[0]]
    return NamedClasses(
        names, f'class names, by their number those of {fitting[0]}: '
        f'{_some(names)}; --classes ANN gives others')


def _some(names: Sequence[str]) -> str:
    more = f', ... {len(names)} in all' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
