"""RoIAlign against its definition, in plain Python, and its own laws."""
import math
from unittest import mock

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from eql_mmdet.host import roi_align as module
from eql_mmdet.host.roi_align import roi_align, roi_align_gradient
from eql_mmdet.host.roi_cells import Sampling, bins_of, cells_of, members

SIZE = (9, 11)
EVERY = pytest.mark.parametrize('aligned, ratio, channels, scale',
                                [(aligned, ratio, channels, scale)
                                 for aligned in (True, False)
                                 for ratio in (0, 1, 2, 5)
                                 for channels, scale in ((5, 0.5), (2, 1.))])


def batch(channels, scale, number=9, seed=0):
    """Features of two images, and RoIs in, around and beside them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(2, channels, *SIZE, generator=generator).double()
    boxes = torch.rand(number, 4, generator=generator).double() * 14 - 2
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].abs() * 1.5
    for i, special in enumerate([(3, 4, 3, 4), (2, 3, 2, 7), (-9, -9, 30, 30),
                                 (20, 1, 25, 5), (-1, -1, 11, 9)]):
        if i < number:
            boxes[i] = torch.tensor(special)
    image = torch.randint(0, 2, (number, 1), generator=generator)
    return features, torch.cat([image, boxes / scale], 1)


def sampling_of(aligned, ratio, scale, bins=(3, 2)):
    return Sampling(bins, SIZE, scale, ratio, aligned)


def bilinear(plane, y, x):
    """Interpolate; nothing is more than a pixel outside."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    y, x = y - top, x - left
    return ((1 - y) * (1 - x) * plane[top, left] +
            (1 - y) * x * plane[top, left + 1] + y *
            (1 - x) * plane[top + 1, left] + y * x * plane[top + 1, left + 1])


def by_definition(features, rois, sampling):
    """Average samples, one after the other."""
    out = np.zeros((len(rois), features.shape[1], *sampling.bins))
    shift = 0.5 if sampling.aligned else 0.
    for r, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * sampling.scale - shift for c in box)
        least = 0. if sampling.aligned else 1.
        bin_h = max(y2 - y1, least) / sampling.bins[0]
        bin_w = max(x2 - x1, least) / sampling.bins[1]
        rows = sampling.ratio or math.ceil(bin_h)
        columns = sampling.ratio or math.ceil(bin_w)
        for c, i, j in np.ndindex(out.shape[1:]):
            samples = [
                bilinear(features[int(image), c].numpy(),
                         y1 + (i + (k + 0.5) / rows) * bin_h,
                         x1 + (j + (m + 0.5) / columns) * bin_w)
                for k in range(rows) for m in range(columns)
            ]
            out[r, c, i, j] = sum(samples) / max(len(samples), 1)
    return torch.from_numpy(out)


@EVERY
def test_output_is_that_of_the_definition(aligned, ratio, channels, scale):
    features, rois = batch(channels, scale)
    sampling = sampling_of(aligned, ratio, scale)
    out = roi_align(features, rois, sampling)
    expected = by_definition(features, rois, sampling)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    assert out.abs().sum() > 0


@EVERY
def test_gradient_is_the_transpose(aligned, ratio, channels, scale):
    features, rois = batch(channels, scale, seed=1)
    sampling = sampling_of(aligned, ratio, scale)
    out = roi_align(features, rois, sampling)
    weight = torch.rand(out.shape, dtype=out.dtype)
    gradient = roi_align_gradient(weight, rois, 2, sampling)
    torch.testing.assert_close((gradient * features).sum(),
                               (weight * out).sum())


@pytest.mark.parametrize('channels', [1, 6])
@pytest.mark.parametrize('ratio', [0, 2])
def test_parts_of_the_rois_give_the_same(channels, ratio):
    features, rois = batch(channels, 1., number=40)
    sampling = sampling_of(True, ratio, 1.)
    whole = roi_align(features, rois, sampling)
    gradient = roi_align_gradient(whole, rois, 2, sampling)
    with mock.patch.object(module, 'ENTRIES', 200):
        assert len(list(module._parts(bins_of(rois, sampling), sampling))) > 2
        parts = roi_align(features, rois, sampling)
        torch.testing.assert_close(
            roi_align_gradient(whole, rois, 2, sampling), gradient)
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


@pytest.mark.parametrize('channels', [1, 6])
def test_no_rois_give_an_empty_output_and_a_gradient_of_zeros(channels):
    features, rois = batch(channels, 1., number=0)
    sampling = sampling_of(True, 0, 1.)
    out = roi_align(features, rois, sampling)
    assert out.shape == (0, channels, 3, 2)
    gradient = roi_align_gradient(out, rois, 2, sampling)
    assert torch.equal(gradient, torch.zeros_like(features))


@pytest.mark.parametrize('ratio', [0, 1, 3])
@pytest.mark.parametrize('axis', [0, 1])
def test_weights_of_a_bin_inside_sum_to_one(axis, ratio):
    rois = torch.tensor([[0., 1., 1., 4., 3.], [1., 2., 0., 9., 8.]])
    sampling = sampling_of(True, ratio, 1.)
    cells = cells_of(bins_of(rois, sampling), sampling, axis)
    owner = torch.repeat_interleave(cells.count.flatten())
    total = torch.zeros(cells.count.numel()).index_add_(0, owner, cells.weight)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert cells.pixel.min() >= 0 and cells.pixel.max() < SIZE[axis]


def test_dense_samples_share_their_pixels():
    """A bin of 8 pixels with 8 samples has 9 cells and not 16."""
    rois = torch.tensor([[0., 0., 0., 8., 8.]])
    sampling = Sampling((1, 1), (20, 20), 1., 0, True)
    cells = cells_of(bins_of(rois, sampling), sampling, 0)
    assert cells.count.tolist() == [[9]]


def test_members_are_listed_group_by_group():
    owner, place = members(
        torch.tensor([2, 0, 3], dtype=torch.int32),
        torch.tensor([7, 5, 0], dtype=torch.int32))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert place.tolist() == [7, 8, 0, 1, 2]


@pytest.mark.parametrize('box', [(5, 5, 4, 9), (5, 5, 9, 4),
                                 (5, math.nan, 9, 9)])
def test_negative_sides_are_refused_with_their_number(box):
    features, rois = batch(5, 1.)
    rois[3, 1:] = torch.tensor(box)
    with pytest.raises(ValueError, match='sides of at least 0, but 1 of 9'):
        roi_align(features, rois, sampling_of(True, 0, 1.))


def test_without_alignment_negative_sides_count_as_one_pixel():
    features, rois = batch(5, 1.)
    sampling = sampling_of(False, 0, 1.)
    rois[3, 1:] = torch.tensor([5., 5., 6., 6.])
    expected = roi_align(features, rois, sampling)
    rois[3, 3:] = 2.
    assert torch.equal(roi_align(features, rois, sampling), expected)


@pytest.mark.parametrize('channels', [1, 6])
def test_the_number_of_operations_does_not_grow_with_the_rois(channels):

    def operations(number):
        features, rois = batch(channels, 1., number)
        with profile(activities=[ProfilerActivity.CPU]) as record:
            roi_align(features, rois, sampling_of(True, 0, 1.))
        return sum(e.name.startswith('aten::') for e in record.events())

    assert operations(400) <= operations(10) + 5
