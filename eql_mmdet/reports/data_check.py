"""What a person should know of an annotation file before training."""
import importlib
import os.path as osp
from collections import Counter
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image

from ..annotations.annotations import Annotations
from ..annotations.category_counts import frequency_group
from ..annotations.lvis_index import has_lvis_fields, is_lvis, lvis_index
from ..annotations.masks import MISSING, NONE, POLYGONS, RLE
from ..annotations.names import canonical
from ..annotations.reader import read_annotations
from ..annotations.training import (TrainingView, check_left,
                                    evaluation_findings, trained_pairs,
                                    training_view)
from ..datasets.files import disk_names, missing_files

#: Most names or files of a kind that are listed.
LISTED = 10
#: What ``healthcheck`` of hotcoco says and the findings say better.
_SAID = {
    'degenerate_bbox', 'bbox_out_of_bounds', 'zero_area',
    'zero_instance_category', 'low_instance_category', 'missing_image',
    'missing_category'
}
#: What to do about the rest of it.
_MENDS = dict(
    extreme_aspect_ratio='look at some; nothing to do if they are right',
    near_duplicate='take one of each two out if they are the same object')


class DataCheck(NamedTuple):
    """What was found, in sentences.

    Attributes:
        facts: What is in the file.
        refused: What stops a training or an evaluation.
        findings: What is lost, rare or odd, and goes on.
    """
    facts: List[str]
    refused: List[str]
    findings: List[str]


def check_data(path: str,
               images: Optional[str] = None,
               train: Optional[str] = None) -> DataCheck:
    """Look at an annotation file as training and evaluation will.

    Args:
        path: The annotation file.
        images: Folder of its images, to see whether they are there and as
            large as the file says.
        train: Annotation file of the training set, if ``path`` is of a set
            that is tested: its categories must be the same, and what is said
            is what an evaluation makes of it.

    Returns:
        What was found. A file that cannot be read has one refusal: it is read
        no further than its first fault.
    """
    found = DataCheck([], [], [])
    annotations = _tried(found, lambda: read_annotations(path))
    if annotations is None:
        return found
    view = training_view(annotations, annotations.label_map(None))
    is_trained = train is None and not annotations.is_test_set
    found.facts.extend(_facts(annotations, view, is_trained))
    odd = view.findings if train is None else evaluation_findings(annotations)
    found.findings.extend(map(str, annotations.findings + odd))
    sound = _check_masks(found, annotations)
    if not annotations.is_test_set:  # boxes from 0 to 1, for example
        _tried(found, lambda: check_left(annotations, view))
    if is_trained:
        if sound:
            found.findings.extend(_masks(annotations))
        found.findings.extend(_rare(annotations, view))
    _check_protocol(found, annotations)
    if images is not None:
        _check_images(found, annotations, images)
    if train is not None:
        other = _tried(found, lambda: read_annotations(train))
        if other is not None:
            _compare(found, annotations, other)
    found.findings.extend(_health(annotations, view))
    said = ' '.join(found.refused)
    return found._replace(
        findings=[line for line in found.findings if line not in said])


def _tried(found: DataCheck, action: Callable) -> Optional[object]:
    try:
        return action()
    except ValueError as error:
        found.refused.append(str(error))
        return None


def _check_protocol(found: DataCheck, annotations: Annotations) -> None:
    """Hold LVIS files to their format, and say what is half of one."""
    try:
        lvis_index(annotations, ground_truth=not annotations.is_test_set)
    except ValueError as error:
        if is_lvis(annotations):
            found.refused.append(str(error))
        elif has_lvis_fields(annotations):
            found.findings.append(
                f'some fields are those of LVIS, but LVISEvalMetric does not '
                f'take the file: {error}')


def _facts(annotations: Annotations, view: TrainingView,
           is_trained: bool) -> List[str]:
    kind = 'LVIS' if is_lvis(annotations) else 'COCO'
    lines = [
        f'{kind} format ({kind}EvalMetric), {annotations.count} images, '
        f'{len(annotations.categories)} categories'
    ]
    if annotations.is_test_set:
        return lines + ['a test set: it has no annotations']
    kinds = annotations.mask_kinds
    here = view.is_trained if is_trained else view.labels >= 0
    images = len(np.unique(annotations.image[here]))
    trained = f', {here.sum()} of them trained,' if is_trained else ''
    lines.append(
        f'{len(kinds)} objects{trained} in {images} images; masks: '
        f'{(kinds == POLYGONS).sum()} polygons, {(kinds == RLE).sum()} RLE, '
        f'{(kinds == NONE).sum()} none')
    counts = _image_counts(annotations, view)
    if is_trained and counts.any():
        groups = Counter(map(frequency_group, counts.tolist()))
        least = counts[counts > 0].min()
        lines.append(
            f'images of a category: {counts.min()} to {counts.max()} '
            f'(imbalance {counts.max() / least:.0f}); {groups["r"]} rare (up '
            f'to 10 images), {groups["c"]} common (up to 100), {groups["f"]} '
            f'frequent')
    return lines


def _image_counts(annotations: Annotations, view: TrainingView) -> np.ndarray:
    pairs = trained_pairs(annotations, view)
    return np.bincount(pairs[:, 1], minlength=len(annotations.categories))


def _check_masks(found: DataCheck, annotations: Annotations) -> bool:
    """Refuse damaged masks; tell whether there are none."""
    damaged = [
        f'{annotations.place(index)} {fault}'
        for index, fault in annotations.mask_faults.items()
        if not fault.startswith(MISSING)
    ]
    if damaged:
        found.refused.append(
            f'{annotations.path}: {len(damaged)} of {len(annotations.image)} '
            f'masks are damaged, and a training or evaluation of masks stops: '
            f'the mask of {_some(damaged)}; export or write them again')
    return not damaged


def _masks(annotations: Annotations) -> List[str]:
    """Say what only a detector with masks would lose."""
    label_map = annotations.label_map(None)
    plain = training_view(annotations, label_map).findings
    lines = [
        f'with masks: {finding}'
        for finding in training_view(annotations, label_map, True).findings
        if finding not in plain
    ]
    if (annotations.mask_kinds == NONE).all():
        return ['no object has a mask: train a detector of boxes']
    rle = (annotations.mask_kinds == RLE) & ~annotations.is_crowd
    if rle.any():
        lines.append(f'{rle.sum()} masks are RLE: LoadAnnotations of the '
                     f'training pipeline needs poly2mask=True, its default')
    return lines


def _rare(annotations: Annotations, view: TrainingView) -> List[str]:
    counts = _image_counts(annotations, view)
    few = [(int(n), name) for n, name in zip(counts, annotations.names)
           if 0 < n <= LISTED]
    if not few:
        return []
    names = ', '.join(f'{name} {n}' for n, name in sorted(few)[:LISTED])
    return [
        f'{len(few)} categories have {LISTED} images or fewer: '
        f'{names}{", ..." if len(few) > LISTED else ""}'
    ]


def _check_images(found: DataCheck, annotations: Annotations,
                  folder: str) -> None:
    names = [image.file_name for image in annotations.images]
    unnamed = [i for i, name in enumerate(names) if name is None]
    if unnamed:
        found.refused.append(
            f'{annotations.path}: images[{unnamed[0]}].file_name is missing '
            f'({len(unnamed)} such images)')
        return
    names = disk_names(annotations)
    missing = missing_files(folder, names)
    if missing:
        found.refused.append(
            f'{len(missing)} of {len(names)} images are not in "{folder}": '
            f'{_some([names[i] for i in missing])}')
    gone = set(missing)
    wrong = [
        text for i, image in enumerate(annotations.images) if i not in gone
        for text in _wrong_size(folder, names[i], image)
    ]
    if wrong:
        found.refused.append(
            f'{len(wrong)} of {len(names)} images are not as the file says: '
            f'{_some(wrong)}; correct "height" and "width", boxes and masks')


def _wrong_size(folder: str, name: str, image: object) -> List[str]:
    """Compare the header of an image with the file; [] if they agree."""
    path = osp.join(folder, name)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) > 4
    except (OSError, SyntaxError, ValueError,
            Image.DecompressionBombError) as error:
        reason = str(error).replace(f' {path!r}', '')
        return [f'{name} cannot be read ({reason})']
    if turned:  # MMCV turns it as its camera says
        width, height = height, width
    if (height, width) == (image.height, image.width):
        return []
    return [
        f'{name} is {width} x {height}, not {image.width} x {image.height}'
    ]


def _compare(found: DataCheck, tested: Annotations,
             trained: Annotations) -> None:
    names, known = canonical(tested.names), canonical(trained.names)
    for have, lack, a, b in ((names, known, tested, trained),
                             (known, names, trained, tested)):
        more = [name for name in have if name not in set(lack)]
        if more:
            found.refused.append(
                f'{a.path} has categories that {b.path} lacks: '
                f'{_some(more)}; give both files the same categories, or '
                f'name the classes in metainfo=dict(classes=(...))')
    if sorted(names) == sorted(known) and names != known:
        found.findings.append(
            f'the categories of {tested.path} stand in another order than '
            f'those of {trained.path}, which is no fault: labels go by name')


def _health(annotations: Annotations, view: TrainingView) -> List[str]:
    """Ask hotcoco, and leave out what is said already."""
    if annotations.is_test_set or not len(annotations.image):
        return []
    images = [
        dict(id=i + 1, height=image.height, width=image.width)
        for i, image in enumerate(annotations.images)
    ]
    categories = [
        dict(id=k + 1, name=name) for k, name in enumerate(annotations.names)
    ]
    report = importlib.import_module('hotcoco').COCO.from_arrays(
        images,
        categories,
        annotations.image.astype(np.int64) + 1,
        annotations.category.astype(np.int64) + 1,
        annotations.boxes,
        area=annotations.areas,
        iscrowd=annotations.is_crowd).healthcheck()
    lines = []
    for item in report['errors'] + report['warnings']:
        if item['code'] in _SAID:
            continue
        if item['layer'] != 'Quality':
            lines.append(item['message'].rstrip('.'))
            continue
        # Of those that are not trained another finding has told.
        rows = [i - 1 for i in item['affected_ids'] if view.is_trained[i - 1]]
        if rows:
            what = item['message'].rstrip('.').replace('(s)', 's')
            mend = _MENDS.get(item['code'])
            lines.append(f'{len(rows)} {what.split(" ", 1)[1]} (first: '
                         f'{annotations.place(rows[0])})'
                         f'{f"; {mend}" if mend else ""}')
    return lines


def _some(items: Sequence[str]) -> str:
    more = ', ...' if len(items) > LISTED else ''
    return ', '.join(map(str, items[:LISTED])) + more
