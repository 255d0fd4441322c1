"""RoIAlign and NMS of a GPU are those of the CPU."""
import sys

import pytest
import torch
from mmcv.ops import nms
from mmcv_op_cases import ROI_CASES, make_boxes, run_roi

from eql_mmdet.host import ops

pytestmark = pytest.mark.gpu


@pytest.fixture(params=['installed', 'stand-in', 'torch'], autouse=True)
def operators(request, monkeypatch):
    """Those a user gets; ours, by torchvision where it is; ours alone."""
    if request.param != 'installed':
        for name in ('nms', 'roi_align'):
            monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module',
                                ops)
    if request.param == 'torch':
        monkeypatch.setattr(ops, '_torchvision', lambda device: None)


def near(there, here):
    """Whether differences are below 1e-5 of the largest value."""
    largest = here.abs().max().item() if here.numel() else 0
    return torch.allclose(there.cpu(), here, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize('name', ROI_CASES)
def test_roi_align_is_that_of_the_cpu(name, device):
    found = zip(run_roi(name, device=device), run_roi(name))
    assert [near(there, here) for there, here in found] == [True, True]


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('number', [1, 40, 700, 3000])
def test_nms_is_that_of_the_cpu(number, offset, device):
    boxes, scores = make_boxes('crowd', number)
    there = nms(boxes.to(device), scores.to(device), 0.5, offset)
    here = nms(boxes, scores, 0.5, offset)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(there, here))
