"""What the evaluation must know of an LVIS file, without its polygons."""
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

GROUPS = 'rcf'


@dataclass(frozen=True)
class LVISIndex:
    """Categories, images and checked categories of an LVIS file.

    Attributes:
        path: The file, for messages.
        category_ids: (K,) ids in the order of the file, which is the order
            of the host's labels.
        names: K names.
        frequencies: K letters of ``'rcf'``.
        image_counts: (K,) images of the training set with the category, as
            the file states them; -1 where it does not.
        instance_counts: (K,) ground truths in this file.
        sizes: Image id -> (height, width) in pixels.
        checked: Image id -> ids that are annotated or known to be absent;
            detections of any other category cannot count.
        an_annotated: Image id -> one annotated category, for class-agnostic
            recall; images without annotations are missing.
        has_masks: Whether every annotation has a ``segmentation``.
    """
    path: str
    category_ids: np.ndarray
    names: List[str]
    frequencies: List[str]
    image_counts: np.ndarray
    instance_counts: np.ndarray
    sizes: Dict[int, Tuple[int, int]]
    checked: Dict[int, np.ndarray]
    an_annotated: Dict[int, int]
    has_masks: bool

    def sorted_frequencies(self) -> List[str]:
        """The letters in the order of the evaluators: by category id."""
        return [self.frequencies[i] for i in np.argsort(self.category_ids)]


class _Annotation(NamedTuple):
    id: int
    image_id: int
    category_id: int
    area: float
    has_mask: bool
    fault: Optional[str]


def load_index(path: str, ground_truth: bool = True) -> LVISIndex:
    """Read and check an LVIS annotation file.

    Args:
        path: A local LVIS json file.
        ground_truth: Whether predictions will be compared with it. If not,
            annotations and negative categories may be missing, as in the
            files of LVIS test sets.

    Returns:
        The index.

    Raises:
        ValueError: If the file is not LVIS json, or holds something that
            would make an evaluation silently wrong.
    """
    dataset = _read(path)
    annotations = dataset.get('annotations', [])
    for annotation in annotations:
        _check_annotation(path, annotation)
    categories, images = dataset['categories'], dataset['images']
    _check_fields(path, 'category', categories, ('id', 'name', 'frequency'))
    fields = ('id', 'height', 'width')
    if ground_truth:
        fields += ('neg_category_ids', 'not_exhaustive_category_ids')
    _check_fields(path, 'image', images, fields)
    for category in categories:
        if category['frequency'] not in GROUPS:
            raise ValueError(
                f'expected frequency r, c or f, but category '
                f'{category["id"]} of "{path}" has {category["frequency"]!r}')
    _check_unique(path, 'annotation', [item.id for item in annotations])
    _check_links(path, annotations, images, categories)
    return _index(path, categories, images, annotations)


def _read(path: str) -> Dict[str, list]:
    with open(path) as file:
        try:
            dataset = json.load(file, object_hook=_slim)
        except ValueError as error:
            raise ValueError(
                f'"{path}" is not a whole json file ({error}); download or '
                f'write it again') from error
    wanted = dict(categories=list, images=list)
    if not isinstance(dataset, dict) or not all(
            isinstance(dataset.get(key), kind)
            for key, kind in wanted.items()):
        raise ValueError(f'expected an LVIS file with lists "images", '
                         f'"categories" and "annotations", but "{path}" '
                         f'is something else')
    return dataset


def _slim(item: dict) -> Any:
    """Forget polygons while the file is parsed: they are most of it."""
    if 'counts' in item and 'size' in item:
        return None
    if 'image_id' not in item or 'category_id' not in item:
        return item
    fault = None
    for key in ('id', 'bbox', 'area'):
        if key not in item:
            fault = f'has no "{key}"'
    # The official evaluator ignores "iscrowd" and counts id 0 as no match.
    if item.get('iscrowd') or item.get('ignore'):
        fault = 'is marked "iscrowd" or "ignore", which LVIS does not have'
    if item.get('id') == 0:
        fault = 'has id 0, which means "no match"; number from 1'
    return _Annotation(
        item.get('id'), item['image_id'], item['category_id'],
        item.get('area'), 'segmentation' in item, fault)


def _check_annotation(path: str, item: Any) -> None:
    if not isinstance(item, _Annotation):
        raise ValueError(f'expected annotations with "image_id" and '
                         f'"category_id", but "{path}" has {item!r:.200}')
    if item.fault:
        raise ValueError(f'annotation {item.id} of image {item.image_id} in '
                         f'"{path}" {item.fault}')


def _check_fields(path: str, kind: str, items: List[dict],
                  fields: Tuple[str, ...]) -> None:
    for item in items:
        for field in fields:
            if not isinstance(item, dict) or field not in item:
                raise ValueError(
                    f'"{path}" is not an LVIS file: {kind} {item!r:.200} has '
                    f'no "{field}"; for COCO files use the host\'s '
                    f'CocoMetric')
    _check_unique(path, kind, [item['id'] for item in items])


def _check_unique(path: str, kind: str, ids: List[int]) -> None:
    if len(set(ids)) < len(ids):
        unique, counts = np.unique(ids, return_counts=True)
        raise ValueError(f'{kind} ids must be unique, but "{path}" has '
                         f'{kind} {unique[counts > 1][0]} more than once')


def _check_links(path: str, annotations: List[_Annotation], images: List[dict],
                 categories: List[dict]) -> None:
    image_ids = {image['id'] for image in images}
    category_ids = {category['id'] for category in categories}
    for item in annotations:
        if item.image_id not in image_ids:
            raise ValueError(f'annotation {item.id} in "{path}" belongs to '
                             f'image {item.image_id}, which is not listed')
        if item.category_id not in category_ids:
            raise ValueError(
                f'annotation {item.id} of image {item.image_id} in "{path}" '
                f'has category {item.category_id}, which is not listed')


def _index(path: str, categories: List[dict], images: List[dict],
           annotations: List[_Annotation]) -> LVISIndex:
    position = {item['id']: i for i, item in enumerate(categories)}
    annotated = defaultdict(set)
    instance_counts = np.zeros(len(categories), dtype=np.int64)
    for item in annotations:
        if item.area <= 0:  # lvis does not see it
            continue
        annotated[item.image_id].add(item.category_id)
        instance_counts[position[item.category_id]] += 1
    checked = {
        image['id']:
        np.array(
            sorted(annotated[image['id']].union(
                image.get('neg_category_ids', ()))), np.int64)
        for image in images
    }
    return LVISIndex(
        path=path,
        category_ids=np.array(list(position), dtype=np.int64),
        names=[item['name'] for item in categories],
        frequencies=[item['frequency'] for item in categories],
        image_counts=np.array(
            [item.get('image_count', -1) for item in categories], np.int64),
        instance_counts=instance_counts,
        sizes={item['id']: (item['height'], item['width'])
               for item in images},
        checked=checked,
        an_annotated={
            i: min(ids)
            for i, ids in annotated.items() if ids
        },
        has_masks=all(item.has_mask for item in annotations))


def check_classes(classes: Sequence[str], index: LVISIndex) -> None:
    """Refuse an annotation file of another data set.

    Single names may differ: the host corrects a typing error of LVIS.

    Args:
        classes: Names of the data set, in the order of its labels.
        index: The annotation file.

    Raises:
        ValueError: If there are not as many categories, or more than one in
            ten has another name.
    """
    mend = ('use the ann_file of the data set, and LVISFormatDataset for a '
            'set of your own: it takes its classes from the file')
    if len(classes) != len(index.names):
        raise ValueError(f'the data set has {len(classes)} classes, but '
                         f'"{index.path}" has {len(index.names)} categories; '
                         f'{mend}')
    other = [(i, ours, theirs)
             for i, (ours, theirs) in enumerate(zip(classes, index.names))
             if ours != theirs]
    if len(other) > len(classes) / 10:
        label, ours, theirs = other[0]
        raise ValueError(
            f'{len(other)} of {len(classes)} classes of the data set have '
            f'another name in "{index.path}": label {label} is "{ours}" '
            f'here and "{theirs}" there; {mend}')
