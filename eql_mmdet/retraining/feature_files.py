"""Pooled RoI features in files that grow image by image.

A folder holds ``settings.json``, which says what the features are of, and
three files without headers that are only ever appended to: ``features.bin``,
``rois.bin`` (``ROI``, what the loss needs of each) and ``counts.bin`` (RoIs
of each image, int64), the last of which decides how many images are there.
"""
import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Tuple

import numpy as np

from ..host.files import whole_file

#: What is kept of a RoI beside its features: arguments of ``BBoxHead.loss``.
ROI = np.dtype([('roi', '<f4', 5), ('label', '<i8'), ('label_weight', '<f4'),
                ('bbox_target', '<f4', 4), ('bbox_weight', '<f4', 4)])
COUNT = np.dtype('<i8')
SETTINGS = 'settings.json'


class Layout(NamedTuple):
    """Where features are and how many there can be.

    Attributes:
        folder: Of the files.
        num_images: N.
        rois_per_image: The most that one image can have.
        shape: (C, h, w) of a RoI.
        dtype: ``float32`` or ``float16``.
    """
    folder: Path
    num_images: int
    rois_per_image: int
    shape: Tuple[int, int, int]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Count the bytes of the features of one RoI."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def most_bytes(self, num_images: int) -> int:
        """Bound the files of some images.

        Args:
            num_images: How many.

        Returns:
            Bytes, if every image has the most RoIs.
        """
        rois = num_images * self.rois_per_image
        return rois * (self.row_bytes + ROI.itemsize) + (
            num_images * COUNT.itemsize)


class Features(NamedTuple):
    """Features of R RoIs, mapped from the files and not read.

    Attributes:
        values: (R, C, h, w) float32 or float16.
        rois: (R,) of ``ROI``.
        offsets: (N + 1,) int64; image i has the RoIs from ``offsets[i]`` up
            to, not including, ``offsets[i + 1]``.
    """
    values: np.ndarray
    rois: np.ndarray
    offsets: np.ndarray


def claim(folder: Path, settings: Dict[str, Any]) -> None:
    """Take a folder for features, or find those of the same settings in it.

    Args:
        folder: Made if it is missing.
        settings: All that the features depend on, as JSON can hold it.

    Raises:
        FileExistsError: If something else is in it.
        ValueError: If it holds features of other settings, or these are
            damaged.
    """
    path = folder / SETTINGS
    text = json.dumps(settings, indent=1, sort_keys=True, default=str)
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(
                f'expected a new folder for features, but "{folder}" holds '
                f'other files; choose another with --features')
        with whole_file(path) as file:
            file.write(text)
        return
    try:
        known, wanted = json.loads(path.read_text()), json.loads(text)
    except ValueError as error:
        raise ValueError(
            f'"{path}" is not a whole json file ({error}); remove the folder '
            f'or choose another with --features') from error
    names = sorted(k for k in {*known, *wanted}
                   if known.get(k) != wanted.get(k))
    if names:
        raise ValueError(
            f'the features in "{folder}" were pooled with another '
            f'{", ".join(names)} (see {SETTINGS}); remove the folder or '
            f'choose another with --features')


def num_done(layout: Layout) -> int:
    """Count the images whose features are whole.

    Args:
        layout: Of the files.

    Returns:
        Images; the next one is to be pooled next.
    """
    ends = np.cumsum(_counts(layout))
    room = [
        _size(layout, name) // width
        for name, width in _data_files(layout).items()
    ]
    # After a crash of the machine the file of counts may be ahead.
    return int(np.searchsorted(ends, min(room), side='right'))


def check_space(layout: Layout, done: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        layout: Of the files; the folder is there.
        done: Images that are there.

    Raises:
        OSError: If there is less room than the rest may need.
    """
    needed = layout.most_bytes(layout.num_images - done)
    free = shutil.disk_usage(layout.folder).free
    if needed > free:
        raise OSError(
            f'the features may need {gigabytes(needed)} more, but only '
            f'{gigabytes(free)} are free in "{layout.folder}"; use --half, '
            f'fewer --rois-per-image or --background, or another --features')


@contextmanager
def appending(layout: Layout) -> Iterator['Writer']:
    """Open the files to go on after the last whole image.

    Args:
        layout: Of the files; the folder is there.

    Yields:
        A writer.

    Raises:
        ValueError: If another process writes them.
    """
    names = [*_data_files(layout), 'counts.bin']
    files = [open(layout.folder / name, 'ab', buffering=0) for name in names]
    try:
        try:
            fcntl.flock(files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f'another process is pooling into '
                             f'"{layout.folder}"; wait for it') from error
        done = num_done(layout)
        rois = int(_counts(layout)[:done].sum())
        widths = _data_files(layout).values()
        for file, width in zip(files, widths):
            file.truncate(rois * width)
        files[-1].truncate(done * COUNT.itemsize)
        yield Writer(layout, files)
    finally:
        for file in files:
            file.close()


class Writer:
    """Append images; what is killed between two of them loses nothing.

    Args:
        layout: Of the files.
        files: Of features, RoIs and counts, open to be appended to.
    """

    def __init__(self, layout: Layout, files: list) -> None:
        self.layout = layout
        self.files = files

    def add(self, values: np.ndarray, rois: np.ndarray) -> None:
        """Append the next image.

        Args:
            values: (R, C, h, w) features.
            rois: (R,) of ``ROI``.

        Raises:
            ValueError: If shapes are wrong or a value cannot be kept.
        """
        if (values.shape != (len(rois), *self.layout.shape)
                or rois.dtype != ROI):
            raise ValueError(
                f'expected features ({len(rois)}, '
                f'{", ".join(map(str, self.layout.shape))}), but got '
                f'{values.shape}, or RoIs of another type')
        with np.errstate(over='ignore'):
            kept = values.astype(self.layout.dtype)
        if not np.isfinite(kept).all():
            raise ValueError(f'the detector gives features that are not '
                             f'finite as {self.layout.dtype}')
        count = np.array([len(rois)], COUNT)
        # Counts come last: they say that the rest is there.
        for file, array in zip(self.files, (kept, rois, count)):
            _write(file, np.ascontiguousarray(array).tobytes())


def read(layout: Layout) -> Features:
    """Map finished features.

    Args:
        layout: Of the files.

    Returns:
        The features; hardly any memory is used before they are indexed.

    Raises:
        ValueError: If images are missing, or none has a RoI.
    """
    counts, done = _counts(layout), num_done(layout)
    if done != layout.num_images:
        raise ValueError(f'expected features of {layout.num_images} images '
                         f'in "{layout.folder}", but there are {done}')
    offsets = np.concatenate([[0], np.cumsum(counts)])
    if not offsets[-1]:
        raise ValueError(f'there is no RoI in "{layout.folder}"')
    values, rois = (layout.folder / name for name in _data_files(layout))
    return Features(
        np.memmap(
            values, layout.dtype, 'r', shape=(offsets[-1], *layout.shape)),
        np.memmap(rois, ROI, 'r', shape=(offsets[-1], )), offsets)


def gigabytes(number: int) -> str:
    """Write a number of bytes as people do.

    Args:
        number: Bytes.

    Returns:
        Such as ``'1.23 GB'``.
    """
    return f'{number / 1e9:,.2f} GB'


def _data_files(layout: Layout) -> Dict[str, int]:
    """Give the bytes of a RoI in each file."""
    return {'features.bin': layout.row_bytes, 'rois.bin': ROI.itemsize}


def _size(layout: Layout, name: str) -> int:
    path = layout.folder / name
    return path.stat().st_size if path.exists() else 0


def _counts(layout: Layout) -> np.ndarray:
    number = _size(layout, 'counts.bin') // COUNT.itemsize
    if not number:
        return np.zeros(0, COUNT)
    return np.fromfile(layout.folder / 'counts.bin', COUNT, number)


def _write(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while len(view):  # the system may take a part
        view = view[os.write(file.fileno(), view):]
