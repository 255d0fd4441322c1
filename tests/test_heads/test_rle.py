"""Masks against pycocotools."""
import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from eql_mmdet.heads.rle import (encode_crop, encode_mask, encode_rows,
                                 rle_pixels)
from eql_mmdet.heads.rle_masks import RLEMasks

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def reference(mask):
    return mask_utils.encode(np.asfortranarray(mask, 'uint8'))['counts']


@given(MASKS)
def test_bytes_equal_those_of_pycocotools(mask):
    assert encode_mask(mask) == reference(mask)


@given(MASKS, st.data())
def test_a_crop_gives_the_bytes_of_the_whole_mask(crop, data):
    """At the border and away from it; full height joins runs."""
    top, bottom, left, right = data.draw(
        st.tuples(*[st.integers(0, 2)] * 4), 'margins')
    mask = np.pad(crop, ((top, bottom), (left, right)))
    assert encode_crop(crop, top, left, mask.shape) == reference(mask)


@pytest.mark.parametrize('density', [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize('shape', [(300, 400), (1, 700), (700, 1)])
def test_large_masks_equal_those_of_pycocotools(density, shape):
    mask = np.random.default_rng(0).random(shape) < density
    assert encode_mask(mask) == reference(mask)


@given(st.lists(MASKS, max_size=5))
def test_pixels_of_whole_masks_are_height_times_width(masks):
    pixels = rle_pixels([reference(mask) for mask in masks])
    assert pixels.tolist() == [mask.size for mask in masks]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_pixels_are_the_sum_of_the_counts(counts):
    rle = dict(size=[1, sum(counts)], counts=counts)
    packed = mask_utils.frPyObjects(rle, 1, sum(counts))['counts']
    assert rle_pixels([packed]).tolist() == [sum(counts)]


MASK = np.eye(9, 7, dtype=bool)


@pytest.mark.parametrize('kind', [
    torch.from_numpy,
    torch.from_numpy(MASK[None]).byte().new_tensor,
    np.uint8,
    np.asarray,
    lambda masks:
    [dict(size=[9, 7], counts=reference(mask)) for mask in masks],
    lambda masks:
    [dict(size=[9, 7], counts=reference(mask).decode()) for mask in masks],
    lambda masks: RLEMasks([reference(mask) for mask in masks], (9, 7)),
    lambda masks:
    [dict(size=[9, 7], counts=[0, *[1, 9] * 6, 1, 2]) for mask in masks],
])
def test_every_kind_of_masks_gives_the_same_bytes(kind):
    masks = kind(np.stack([MASK] * 3))
    rows = np.array([0, 2])
    assert encode_rows(masks, rows, (9, 7), 1) == [reference(MASK)] * 2


def test_no_rows_give_no_masks():
    rows = np.zeros(0, dtype=np.int64)
    assert encode_rows(torch.zeros(0, 9, 7).bool(), rows, (9, 7), 1) == []
    assert encode_rows([], rows, (9, 7), 1) == []


@pytest.mark.parametrize('counts', [
    b'', b'5',
    reference(MASK)[:-1],
    reference(MASK)[:-3],
    reference(MASK) + b'99', b'\xff\xff', b'zzz'
])
def test_damaged_masks_are_refused_by_image(counts):
    with pytest.raises(ValueError, match='image 12 is a damaged RLE'):
        encode_rows([dict(size=[9, 7], counts=counts)], np.array([0]), (9, 7),
                    12)


@pytest.mark.parametrize('masks, error, message', [
    (torch.zeros(1, 7, 9).bool(), ValueError, r'size .*\(9, 7\).*\(7, 9\)'),
    ([dict(size=[7, 9], counts=b'o1')], ValueError, r'\(9, 7\).*\(7, 9\)'),
    (torch.zeros(1, 9, 7), TypeError, 'float32'),
    ([[1, 2, 3, 4]], TypeError, r'\[1, 2, 3, 4\]'),
    ([dict(counts=b'o1')], TypeError, '"size" and "counts"'),
])
def test_other_masks_are_refused_by_image(masks, error, message):
    with pytest.raises(error, match=f'image 12 .*{message}'):
        encode_rows(masks, np.array([0]), (9, 7), 12)
