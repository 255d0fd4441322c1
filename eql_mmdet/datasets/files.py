"""Annotation files and images through the file backends of the host."""
import os
import os.path as osp
import re
from typing import List, Optional

from mmengine.fileio import get

from ..annotations.annotations import Annotations
from ..annotations.lvis_index import is_lvis
from ..annotations.reader import parse_annotations, read_annotations

#: LVIS v0.5 names files of 2014; since 2017 they are ``000000000009.jpg``.
_NAME_OF_2014 = re.compile(r'COCO_(?:train|val|test)2014_(\d{12}\.jpg)')


def load_annotations(path: str,
                     backend_args: Optional[dict] = None) -> Annotations:
    """Read an annotation file, from the disk once a process.

    Args:
        path: A local path, or a remote one that the backend knows.
        backend_args: Of the host's file backend.

    Returns:
        What it says.

    Raises:
        ValueError: If it cannot be read or is refused; it names the place.
    """
    if backend_args is None and '://' not in path:
        return read_annotations(path)
    try:
        data = get(path, backend_args=backend_args)
    except (OSError, KeyError, ImportError) as error:
        raise ValueError(f'cannot read the annotation file "{path}" with '
                         f'backend_args={backend_args}: '
                         f'{type(error).__name__}: {error}') from error
    return parse_annotations(data, path)


def name_of_2017(name: str) -> str:
    """Give the name under which an image of COCO is on the disk.

    Args:
        name: Of LVIS v0.5, or any other.

    Returns:
        The name of 2017; other names as they are.
    """
    old = _NAME_OF_2014.fullmatch(name)
    return old[1] if old else name


def disk_names(annotations: Annotations) -> List[str]:
    """List the names of the images on the disk, as the data sets read them.

    Args:
        annotations: A file; every image has a ``file_name``.

    Returns:
        A name each, relative to the folder of the images.
    """
    names = [image.file_name for image in annotations.images]
    return list(map(name_of_2017, names)) if is_lvis(annotations) else names


def missing_files(folder: str, names: List[str]) -> List[int]:
    """Find images that are not on the disk, a look at each folder.

    Args:
        folder: Of the images.
        names: File names below it.

    Returns:
        Positions of the names that are not there.
    """
    there = {}
    missing = []
    for position, name in enumerate(names):
        place, file = osp.split(osp.join(folder, name))
        if place not in there:
            there[place] = _list(place)
        if file not in there[place]:
            missing.append(position)
    return missing


def _list(folder: str) -> set:
    try:
        return set(os.listdir(folder or '.'))
    except OSError:
        return set()
