"""Masks in all of their forms: the pixels, and what is wrong with them."""
import json
import os
import pickle

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eql_mmdet.annotations.masks import (MISSING, NONE, POLYGONS, RLE,
                                         MaskStore, mask_area, mask_fault,
                                         mask_kind, rle_pixels, to_rle)

HEIGHT, WIDTH = 9, 12
SIZE = (HEIGHT, WIDTH)
SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]


def raw(value):
    return json.dumps(value).encode()


def run_lengths(pixels):
    """The definition: lengths of runs, columns first, zeros first."""
    runs, last = [0], False
    for pixel in pixels.T.ravel():
        if pixel != last:
            runs.append(0)
            last = pixel
        runs[-1] += 1
    return runs


def compress(counts):
    """The format of the COCO API, number after number."""
    text = ''
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def pixels_of(seed, share):
    return np.random.default_rng(seed).random(SIZE) < share


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5, 0.98]))
def test_every_form_of_a_mask_has_its_pixels(seed, share):
    pixels = pixels_of(seed, share)
    counts = run_lengths(pixels)
    for form in (counts, compress(counts)):
        mask = dict(size=list(SIZE), counts=form)
        fault = mask_fault(raw(mask), SIZE)
        if not pixels.any():
            assert fault == 'has no pixel: its RLE is empty'
            continue
        assert fault is None and mask_kind(raw(mask)) == RLE
        assert mask_area(mask, SIZE) == pixels.sum()
        rle = to_rle(mask, SIZE)
        np.testing.assert_array_equal(mask_utils.decode(rle), pixels)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.integers(-40, 150), max_size=12), min_size=1, max_size=4))
def test_pixels_of_runs_are_their_sum_unless_one_is_negative(masks):
    expected = [
        sum(counts) if counts and min(counts) >= 0 else -1 for counts in masks
    ]
    encoded = [compress(counts).encode() for counts in masks]
    assert rle_pixels(encoded).tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-40, 150), max_size=12).map(
        lambda counts: counts + [HEIGHT * WIDTH - sum(counts)]))
def test_what_is_no_fault_can_be_decoded_by_the_host(counts):
    """And what the host cannot decode is a fault."""
    mask = dict(size=list(SIZE), counts=compress(counts))
    try:
        area = int(mask_utils.decode(mask).sum())
    except ValueError:
        area = None
    fault = mask_fault(raw(mask), SIZE)
    if area is None:
        assert 'does not describe the 9 x 12 pixels' in fault
    else:
        assert (fault is None) == (area > 0)


def test_area_of_polygons_is_that_of_the_coco_api():
    polygons = [SQUARE, [4, 3, 9, 3, 9, 8, 4, 8], [1, 1, 2, 2]]
    rles = mask_utils.frPyObjects(polygons[:2], *SIZE)
    pixels = mask_utils.decode(rles).any(axis=2)
    assert mask_area(polygons, SIZE) == pixels.sum() == 16 + 25 - 4


@pytest.mark.parametrize('text, kind', [
    (b'', NONE),
    (b'null', NONE),
    (b'[]', NONE),
    (b'[[1,2,3,4,5,6]]', POLYGONS),
    (b'[ ]', POLYGONS),
    (b'{}', RLE),
    (b'"AB"', None),
    (b'false', None),
    (b'0', None),
])
def test_the_first_byte_tells_the_kind(text, kind):
    assert mask_kind(text) == kind
    assert mask_kind(memoryview(text)) == kind


@pytest.mark.parametrize('mask', [
    [SQUARE],
    [SQUARE, [1, 2, 3, 4]],
    [[1, 2, 3, 4], SQUARE],
    [SQUARE + [3]] + [SQUARE],
    [[float(v) for v in SQUARE]],
    [[v - 1e-7 for v in SQUARE]],
    [[-99999] + SQUARE[1:]],
    dict(size=[9.0, 12.0], counts=[0, 8, 100]),
    dict(size=[9, 12], counts=[0, 8, 100], other='x'),
])
def test_masks_that_can_be_compared_have_no_fault(mask):
    assert mask_fault(raw(mask), SIZE) is None
    assert mask_fault(json.dumps(mask, indent=2).encode(), SIZE) is None
    assert mask_area(mask, SIZE) > 0


@pytest.mark.parametrize('mask, fault', [
    (None, 'mask'),
    ([], 'mask'),
    ([[]], 'polygon of three points'),
    ([[], []], 'polygon of three points'),
    ([[1, 2, 3, 4]], 'polygon of three points'),
    ([SQUARE + [3]], 'polygon of three points'),
    (dict(size=[9, 12], counts=[108]), 'pixel: its RLE is empty'),
    (dict(size=[9, 12], counts=[108, 0]), 'pixel: its RLE is empty'),
    (dict(size=[9, 12], counts=compress([108])), 'pixel: its RLE is empty'),
])
def test_masks_without_anything_are_missing(mask, fault):
    assert mask_fault(raw(mask), SIZE).startswith(MISSING + fault)
    spaced = json.dumps(mask, indent=1, separators=(' , ', ' : '))
    assert mask_fault(spaced.encode(), SIZE).startswith(MISSING)


@pytest.mark.parametrize('mask, fault', [
    (SQUARE, 'is not a list of polygons'),
    ([SQUARE, None], 'is not a list of polygons'),
    ([SQUARE, 'x'], 'is not a list of polygons'),
    ([SQUARE[:-1] + ['5']], 'is not a list of polygons'),
    ([SQUARE[:-1] + [None]], 'is not a list of polygons'),
    ([[SQUARE]], 'is not a list of polygons'),
    ([dict(counts=[1])], 'is not a list of polygons'),
    ([[1e5] + SQUARE[1:]], 'more than 100000 pixels away'),
    ([SQUARE, [-5432100.25] + SQUARE[1:]], 'more than 100000 pixels away'),
    ([[1e30] + SQUARE[1:]], 'more than 100000 pixels away'),
    ([[10**400] + SQUARE[1:]], 'more than 100000 pixels away'),
    ({}, '"size" or "counts" are not right'),
    (dict(size=[9, 12]), '"size" or "counts" are not right'),
    (dict(size=[9, 12], counts=None), '"size" or "counts" are not right'),
    (dict(size=[9, 12], counts=['x']), '"size" or "counts" are not right'),
    (dict(size='9', counts=[108]), '"size" or "counts" are not right'),
    (dict(size=[12, 9], counts=[0, 108]), r'\(12, 9\) in an image of \(9, 12'),
    (dict(size=[9, 12], counts=[0, 107]), 'not describe the 9 x 12 pixels'),
    (dict(size=[9, 12], counts=[]), 'not describe the 9 x 12 pixels'),
    (dict(size=[9, 12], counts=[0, -1, 109]), 'not describe the 9 x 12'),
    (dict(size=[9, 12], counts=[1, 2**70]), 'not describe the 9 x 12'),
    (dict(size=[9, 12], counts=''), 'not describe the 9 x 12 pixels'),
    (dict(size=[9, 12], counts='é~'), 'not describe the 9 x 12 pixels'),
    (dict(size=[9, 12], counts='\ud800'), '"size" or "counts" are not right'),
])
def test_damaged_masks_have_a_fault(mask, fault):
    found = mask_fault(raw(mask), SIZE)
    assert not found.startswith(MISSING)
    with pytest.raises(ValueError, match=fault):
        raise ValueError(found)


NUMBERS = st.one_of(
    st.integers(-9, 10**7), st.floats(-1e3, 1e6), st.floats(0, 1e-6),
    st.none(), st.booleans(), st.text(max_size=2))
POLYGON = st.lists(
    NUMBERS, max_size=8) | st.lists(
        st.integers(0, 99), min_size=6, max_size=8)


def fault_by_numbers(mask):
    """What a polygon must be, said with its numbers."""
    is_mask = all(
        isinstance(part, list) and all(
            isinstance(v, (int, float)) and not isinstance(v, bool)
            for v in part) for part in mask)
    if not is_mask:
        return 'is not a list of polygons'
    if any(abs(v) >= 100_000 for part in mask for v in part):
        return 'has a point more than 100000 pixels away'
    if not any(len(part) >= 6 and len(part) % 2 == 0 for part in mask):
        return 'has no '
    return None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(POLYGON | NUMBERS, max_size=3), st.sampled_from([None, 1]),
    st.sampled_from([(',', ':'), (', ', ': '), (' , ', ':')]))
def test_polygons_are_judged_by_their_text_as_by_their_numbers(
        mask, indent, separators):
    text = json.dumps(mask, indent=indent, separators=separators)
    found, expected = mask_fault(text.encode(), SIZE), fault_by_numbers(mask)
    assert found == expected or found.startswith(expected)


@pytest.fixture
def store(tmp_path):
    parts = [b'[[1,2]]', b'', b'{"a":1}']
    path = tmp_path / 'a.json'
    path.write_bytes(b'--'.join(parts))
    starts, lengths = np.array([0, 0, 11]), np.array([7, 0, 7])
    return path, MaskStore(str(path), starts, lengths), parts


def test_a_store_reads_from_the_file_and_from_bytes(store):
    path, ours, parts = store
    memory = MaskStore(path.read_bytes(), ours.starts, ours.lengths)
    for each in (ours, memory, pickle.loads(pickle.dumps(ours))):
        assert [each.raw(i) for i in range(3)] == parts
        assert list(each.scan([2, 0, 1])) == [parts[2], parts[0], parts[1]]
        assert list(each.scan([])) == []
        assert [each.load(i) for i in range(3)] == [[[1, 2]], [], dict(a=1)]


def test_a_file_that_is_written_to_is_noticed(store):
    path, ours, parts = store
    copy = pickle.loads(pickle.dumps(ours))
    with open(path, 'ab') as file:
        file.write(b' ')
    for each in (ours, copy):
        for read in (lambda: each.raw(0), lambda: list(each.scan([0]))):
            with pytest.raises(ValueError, match='changed while it was in'):
                read()


def test_a_file_that_is_replaced_is_read_on(store):
    """Only a process that opens it anew must refuse the new one."""
    path, ours, parts = store
    copy = pickle.loads(pickle.dumps(ours))
    other = path.with_name('b.json')
    other.write_bytes(b'x' * 100)
    os.replace(other, path)
    assert [ours.raw(i) for i in range(3)] == parts
    with pytest.raises(ValueError, match='changed while it was in use'):
        copy.raw(0)


def test_a_file_that_is_gone_is_named_by_a_new_process(store):
    path, ours, parts = store
    copy = pickle.loads(pickle.dumps(ours))
    path.unlink()
    assert ours.raw(0) == parts[0]
    with pytest.raises(ValueError, match='a.json.*No such file'):
        copy.raw(0)
