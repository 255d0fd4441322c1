"""Features in files: order, resuming, other settings, room."""
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from eql_mmdet.retraining.feature_files import (ROI, Layout, appending,
                                                check_space, claim, num_done,
                                                read)

SHAPE = (2, 3, 3)
COUNTS = [3, 0, 5, 1]


def image(index, count):
    rng = np.random.default_rng(index)
    rois = np.zeros(count, ROI)
    rois['label'] = rng.integers(9, size=count)
    rois['bbox_target'] = rng.normal(size=(count, 4))
    return rng.normal(size=(count, *SHAPE)).astype('float32'), rois


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path, len(COUNTS), 5, SHAPE, np.dtype('float32'))


def write(layout, images):
    with appending(layout) as writer:
        for index in images:
            writer.add(*image(index, COUNTS[index]))


def contents(layout):
    return {p.name: p.read_bytes() for p in layout.folder.iterdir()}


def test_images_come_back_as_they_went_in(layout):
    write(layout, range(4))
    found = read(layout)
    assert found.offsets.tolist() == [0, 3, 3, 8, 9]
    for index, count in enumerate(COUNTS):
        part = slice(*found.offsets[index:index + 2])
        values, rois = image(index, count)
        np.testing.assert_array_equal(found.values[part], values)
        np.testing.assert_array_equal(found.rois[part], rois)


def test_features_are_mapped_and_not_read(layout):
    write(layout, range(4))
    assert isinstance(read(layout).values, np.memmap)


def test_half_precision_is_half_as_large(layout):
    write(layout, range(4))
    half = layout._replace(
        folder=layout.folder / 'half', dtype=np.dtype('float16'))
    half.folder.mkdir()
    write(half, range(4))
    whole = read(layout).values
    np.testing.assert_array_equal(read(half).values, whole.astype('float16'))
    assert 2 * half.row_bytes == layout.row_bytes == 72


def test_the_bound_holds_and_is_met_by_full_images(layout):
    write(layout, range(4))
    size = sum(map(len, contents(layout).values()))
    assert size < layout.most_bytes(4)
    full = layout._replace(rois_per_image=9, num_images=1)
    assert full.most_bytes(1) == size - 3 * 8


@pytest.mark.parametrize('name, lost', [('features.bin', 1), ('rois.bin', 1),
                                        ('features.bin', 100),
                                        ('counts.bin', 8), ('counts.bin', 3)])
def test_a_torn_end_is_written_again(layout, name, lost):
    write(layout, range(4))
    whole = contents(layout)
    path = layout.folder / name
    os.truncate(path, path.stat().st_size - lost)
    start = num_done(layout)
    assert start in (2, 3)
    write(layout, range(start, 4))
    assert contents(layout) == whole


def test_what_follows_the_last_whole_image_is_dropped(layout):
    write(layout, range(4))
    whole = contents(layout)
    for name in whole:
        (layout.folder / name).unlink()
    write(layout, range(2))
    for name in ('features.bin', 'rois.bin', 'counts.bin'):
        with open(layout.folder / name, 'ab') as file:
            file.write(b'torn')
    assert num_done(layout) == 2
    write(layout, range(2, 4))
    assert contents(layout) == whole


def test_missing_images_are_refused(layout):
    write(layout, range(3))
    with pytest.raises(ValueError, match='of 4 images .* there are 3'):
        read(layout)


def test_no_roi_at_all_is_refused(layout):
    write(layout._replace(num_images=1), [1])
    with pytest.raises(ValueError, match='no RoI'):
        read(layout._replace(num_images=1))


def test_two_processes_do_not_write_the_same_files(layout):
    with appending(layout):
        with pytest.raises(ValueError, match='another process'):
            write(layout, [0])
    write(layout, [0])


@pytest.mark.parametrize('change, message', [
    (lambda values, rois: (values[:2], rois), 'expected features'),
    (lambda values, rois: (values, rois['label']), 'another type'),
    (lambda values, rois: (values * np.nan, rois), 'not finite as float32'),
])
def test_wrong_features_are_refused_and_not_written(layout, change, message):
    with appending(layout) as writer:
        with pytest.raises(ValueError, match=message):
            writer.add(*change(*image(0, 3)))
    assert num_done(layout) == 0 and not any(contents(layout).values())


def test_overflow_of_half_precision_is_refused(layout):
    half = layout._replace(dtype=np.dtype('float16'))
    with appending(half) as writer:
        with pytest.raises(ValueError, match='not finite as float16'):
            writer.add(image(0, 3)[0] * 1e6, image(0, 3)[1])


def test_a_folder_of_other_settings_is_refused_by_name(tmp_path):
    folder = tmp_path / 'new' / 'features'
    claim(folder, dict(checkpoint='a', scale=(8, 8)))
    claim(folder, dict(checkpoint='a', scale=[8, 8]))
    with pytest.raises(ValueError, match='with another checkpoint, half'):
        claim(folder, dict(checkpoint='b', half=True, scale=(8, 8)))


@pytest.mark.parametrize('text', ['', '{"checkpoint": "a"'])
def test_settings_that_are_not_whole_are_refused_by_name(tmp_path, text):
    (tmp_path / 'settings.json').write_text(text)
    with pytest.raises(ValueError, match='settings.json" is not a whole'):
        claim(tmp_path, dict(checkpoint='a'))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    with pytest.raises(FileExistsError, match='other files'):
        claim(tmp_path, dict(checkpoint='a'))
    assert os.listdir(tmp_path) == ['photo.jpg']


@pytest.mark.parametrize('done, fits', [(0, False), (2, False), (3, True)])
def test_only_what_is_missing_needs_room(layout, monkeypatch, done, fits):
    usage = namedtuple('usage', 'free')(layout.most_bytes(1))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    if fits:
        check_space(layout, done)
    else:
        with pytest.raises(OSError, match='may need .* only .* are free'):
            check_space(layout, done)
