"""What two annotation files are: all that a config has to say of them."""
import os.path as osp
import re
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional

import numpy as np

from ..annotations.annotations import Annotations
from ..annotations.category_counts import CategoryCounts, count_annotations
from ..annotations.lvis_index import has_lvis_fields, is_lvis
from ..annotations.reader import read_annotations
from ..annotations.training import training_view
from ..datasets.files import disk_names, missing_files
from ..reports.data_check import DataCheck, check_data


class Split(NamedTuple):
    """The files of one split.

    Attributes:
        ann: The annotation file.
        images: Folder of its images.
        is_lvis: Whether it is in LVIS format; else it is in COCO format.
        check: What a person should know of it.
    """
    ann: str
    images: str
    is_lvis: bool
    check: DataCheck


class Survey(NamedTuple):
    """What is known of a training and a validation file.

    Attributes:
        train: Files of the training set.
        val: Files of the set to validate on.
        counts: Of the training set.
        maskless: Where an object without a mask is; None if all have one.
    """
    train: Split
    val: Split
    counts: CategoryCounts
    maskless: Optional[str]


def survey(train: str,
           val: str,
           images: Optional[str] = None,
           tell: Callable[[str], None] = lambda line: None) -> Survey:
    """Look at the files of a data set.

    Args:
        train: Annotation file of the training set.
        val: That of the set to validate on.
        images: Folder of the images of both, or of their folders. By
            default it is looked for around the annotation files.
        tell: Is told what takes long.

    Returns:
        What was found.

    Raises:
        ValueError: If the images are not found, or something of the files
            would stop a training or an evaluation.
    """
    splits = []
    for ann, other in ((train, None), (val, train)):
        found = read_annotations(ann)
        folder = find_images(found, images)
        tell(f'{ann}: looking at {found.count} images in "{folder}"')
        check = check_data(ann, folder, other)
        if found.is_test_set:
            check.refused.append(f'{ann} has no "annotations": it is a test '
                                 f'set, which can neither be trained on nor '
                                 f'be evaluated')
        if has_lvis_fields(found) and not is_lvis(found):
            check.refused.append(
                f'{ann} has some fields of LVIS and lacks others: give '
                f'categories "frequency" and images "neg_category_ids" and '
                f'"not_exhaustive_category_ids", or take all of them out if '
                f'every object is annotated, as in COCO')
        if check.refused:
            raise ValueError(f'{ann} cannot be used as it is: ' +
                             '; '.join(check.refused))
        splits.append(Split(ann, folder, is_lvis(found), check))
    both = [read_annotations(ann) for ann in (train, val)]
    return Survey(*splits, count_annotations(both[0]),
                  next(filter(None, map(_maskless, both)), None))


def _maskless(annotations: Annotations) -> Optional[str]:
    view = training_view(annotations, annotations.label_map(None))
    place = annotations.first_without_mask(view.is_trained)
    return place and f'{annotations.path}: {place}'


def find_images(annotations: Annotations, given: Optional[str] = None) -> str:
    """Find the folder that the file names of a set are relative to.

    Args:
        annotations: The annotation file.
        given: The folder, or one that holds it. By default it is looked for
            beside the file, and one level above if the file lies in a folder
            of annotations.

    Returns:
        The folder.

    Raises:
        ValueError: If no folder has all images, or two have and neither is
            named after the file.
    """
    if any(not image.file_name for image in annotations.images):
        raise ValueError(f'{annotations.path}: images without "file_name"')
    names = disk_names(annotations)
    roots = [Path(given)] if given else _roots(Path(annotations.path))
    best = {}
    for root in roots:
        missing = {
            str(folder): len(missing_files(str(folder), names))
            for folder in (root, *_folders(root))
            if osp.exists(folder / names[0])
        }
        whole = [folder for folder, number in missing.items() if not number]
        if whole:
            return _the_one(annotations.path, whole)
        best.update(missing)
    if best:
        folder = min(best, key=best.get)
        lost = missing_files(folder, names)
        raise ValueError(f'{len(lost)} of the {len(names)} images of '
                         f'{annotations.path} are not in "{folder}" (first: '
                         f'"{names[lost[0]]}"); add them, take them out of '
                         f'the file, or say with --images DIR where they are')
    raise ValueError(
        f'expected the images of {annotations.path} (first: "{names[0]}") in '
        f'{_list(map(str, roots))} or a folder in it, but they are not '
        f'there; say with --images DIR where they are')


def _roots(file: Path) -> List[Path]:
    """List where images are looked for, the nearest first."""
    folder = file.resolve().parent.name.lower()
    above = Path(osp.normpath(file.parent / '..'))
    # Above any other folder are other people's sets.
    return [file.parent] + [above] * folder.startswith(('ann', 'label'))


def _the_one(path: str, folders: List[str]) -> str:
    # Of train and train2017 the longer is meant by instances_train2017.
    stem = Path(path).stem
    named = [
        folder for folder in folders
        if re.search(rf'(?<![^\W_]){re.escape(Path(folder).name)}(?![a-zA-Z])',
                     stem) and Path(folder).name
    ]
    named.sort(key=lambda folder: -len(Path(folder).name))
    if len(folders) > 1 and not named:
        raise ValueError(f'the images of {path} are in each of '
                         f'{_list(folders)}; say with --images DIR which is '
                         f'meant')
    return (named or folders)[0]


def _folders(root: Path) -> List[Path]:
    return sorted(p for p in root.iterdir()
                  if p.is_dir()) if root.is_dir() else []


def _list(folders) -> str:
    return ' or '.join(f'"{folder}"' for folder in folders)


def imbalance(counts: CategoryCounts) -> float:
    """Divide the images of the most frequent category by the fewest.

    Args:
        counts: Of the training set.

    Returns:
        At least 1; categories without an image do not count.
    """
    there = counts.image_count[counts.image_count > 0]
    return float(np.max(there) / np.min(there))
