"""The stand-in gives what compiled MMCV gives, live or as recorded."""
import ast
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from types import ModuleType

import mmcv
import numpy as np
import pytest
import torch
from mmcv.ops import nms as mmcv_nms
from mmcv.ops import roi_align as mmcv_roi_align
from mmcv.ops import soft_nms as mmcv_soft_nms
from mmcv_op_cases import (BATCHED_CASES, NMS_CASES, RECORD, ROI_CASES,
                           SOFT_CASES, make_boxes, run_nms, run_roi)

from eql_mmdet.host import ops

MODULES = [sys.modules[f'mmcv.ops.{name}'] for name in ('nms', 'roi_align')]
EXT = MODULES[0].ext_module
needs_compiled = pytest.mark.skipif(
    isinstance(EXT, ops.StandIn), reason='MMCV is not compiled')


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Let MMCV's own Python code call our operators."""
    for module in MODULES:
        monkeypatch.setattr(module, 'ext_module', ops)


@pytest.fixture
def compiled(stand_in, monkeypatch):
    """Run a function with compiled MMCV."""

    def call(function, *args, **kwargs):
        with monkeypatch.context() as patch:
            for module in MODULES:
                patch.setattr(module, 'ext_module', EXT)
            return function(*args, **kwargs)

    return call


@pytest.fixture(scope='module')
def record():
    return np.load(RECORD)


def assert_near(ours, theirs, relative=1e-6):
    """Differences stay below this share of the largest value."""
    assert ours.shape == theirs.shape
    largest = theirs.abs().max() if theirs.numel() else 0
    assert (ours - theirs).abs().max() <= relative * largest


# What was recorded, for every case.


@pytest.mark.parametrize('name', ROI_CASES)
def test_roi_align_is_that_of_compiled_mmcv(record, name):
    out, grad = run_roi(name)
    assert_near(out, torch.from_numpy(record[name]))
    assert_near(grad, torch.from_numpy(record[f'{name} grad']))


@pytest.mark.parametrize('name', [*NMS_CASES, *SOFT_CASES, *BATCHED_CASES])
def test_detections_are_those_of_compiled_mmcv(record, name):
    dets, index = run_nms(name)
    scores, expected = record[f'{name} scores'], record[name]
    np.testing.assert_allclose(dets[:, 4], scores, rtol=1e-6)
    index, expected = index.tolist(), expected.tolist()
    if 'clusters' in name:
        # Equal scores, of boxes far from each other, come in any order.
        index, expected = sorted(index), sorted(expected)
    assert index == expected


# Live, where MMCV is compiled: random inputs, with ties.


@needs_compiled
@pytest.mark.parametrize('name', ROI_CASES)
def test_roi_align_is_that_of_mmcv_beside_it(compiled, name):
    for ours, theirs in zip(run_roi(name), compiled(run_roi, name)):
        assert_near(ours, theirs)


@needs_compiled
@pytest.mark.parametrize('size', [(200, 304), (25, 38)])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_of_a_feature_pyramid_is_that_of_mmcv(
        compiled, size, aligned):
    generator = torch.Generator().manual_seed(0)
    scale = size[0] / 800
    features = torch.randn(2, 16, *size, generator=generator)
    boxes = torch.rand(300, 4, generator=generator) * 800
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:] / 4
    rois = torch.cat([torch.arange(300)[:, None] % 2, boxes], 1)
    args = (features, rois, 7, scale, 0, 'avg', aligned)
    assert_near(mmcv_roi_align(*args), compiled(mmcv_roi_align, *args))


@needs_compiled
def test_both_refuse_negative_sides(compiled):
    args = (torch.rand(1, 8, 9, 9), torch.tensor([[0., 5., 5., 4., 9.]]), 2)
    with pytest.raises(RuntimeError, match='non-negative size'):
        compiled(mmcv_roi_align, *args)
    with pytest.raises(ValueError, match='sides of at least 0'):
        mmcv_roi_align(*args)


@needs_compiled
@pytest.mark.parametrize('number', [0, 1, 17, 300, 1500])
@pytest.mark.parametrize('kind', ['crowd', 'rounded', 'clusters'])
@pytest.mark.parametrize('offset', [0, 1])
def test_ties_are_decided_as_in_mmcv(compiled, kind, number, offset):
    boxes, scores = make_boxes(kind, number, seed=1)
    for values in (scores, (scores * 5).round() / 5):
        args = (boxes, values, 0.5, offset)
        ours, theirs = mmcv_nms(*args), compiled(mmcv_nms, *args)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


@needs_compiled
@pytest.mark.parametrize('number', [0, 1, 17, 200])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('kind', ['crowd', 'rounded'])
def test_ties_of_lowered_scores_are_decided_as_in_mmcv(compiled, kind, method,
                                                       number):
    boxes, scores = make_boxes(kind, number, seed=1)
    scores = (scores * 9).round() / 9
    args = (boxes, scores, 0.3, 0.5, 0.02, method)
    ours, theirs = mmcv_soft_nms(*args), compiled(mmcv_soft_nms, *args)
    torch.testing.assert_close(
        ours[0], theirs[0], rtol=1e-6, atol=0, equal_nan=True)
    assert torch.equal(ours[1], theirs[1])


# Precision, devices, gradients.


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', ['roi True 0 5 0.25 4x4'])
def test_half_precision_is_rounded_once(name, dtype):
    out, grad = run_roi(name, dtype)
    features = torch.rand(1, 5, 13, 17).to(dtype)
    rois = torch.tensor([[0., 1., 2., 9., 9.]]).to(dtype)
    exact = mmcv_roi_align(features.float(), rois.float(), 3)
    assert out.dtype == grad.dtype == dtype
    assert torch.equal(mmcv_roi_align(features, rois, 3), exact.to(dtype))


@pytest.mark.parametrize('channels', [1, 6])
def test_autocast_does_not_touch_the_operator(channels):
    features = torch.rand(2, channels, 13, 17, requires_grad=True)
    rois = torch.tensor([[0., 1., 2., 9., 9.], [1., 0., 0., 12., 8.]])

    def value_and_gradient():
        out = mmcv_roi_align(features, rois, 3)
        return out, *torch.autograd.grad(out.square().sum(), features)

    expected = value_and_gradient()
    with torch.autocast('cpu', torch.bfloat16):
        found = value_and_gradient()
    assert all(map(torch.equal, found, expected))


@pytest.mark.slow
@pytest.mark.parametrize('channels', [2, 5])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_gradients_are_those_of_differences(channels, aligned, ratio):
    features = torch.rand(2, channels, 6, 7).double().requires_grad_()
    rois = torch.tensor([[0., 1., 2., 9., 9.], [1., -3., 0., 5., 4.]])
    assert torch.autograd.gradcheck(
        lambda x: mmcv_roi_align(x, rois.double(),
                                 (2, 3), 0.5, ratio, 'avg', aligned), features)


def test_shapes_are_known_on_meta():
    features = torch.rand(
        2, 5, 13, 17, device='meta', dtype=torch.half, requires_grad=True)
    out = mmcv_roi_align(features, torch.rand(9, 5, device='meta').half(), 7)
    out.sum().backward()
    assert out.shape == (9, 5, 7, 7) and out.dtype == torch.half
    assert features.grad.shape == features.shape


# torchvision's kernels, faked: their signatures are torchvision's.


class FakeKernels:

    def nms(self, dets, scores, iou_threshold):
        return ops.nms_ops.nms(dets, scores, iou_threshold, 0)

    def roi_align(self, input, rois, spatial_scale, pooled_height,
                  pooled_width, sampling_ratio, aligned):
        return ops.roi_align(
            input, rois,
            ops.Sampling((pooled_height, pooled_width), input.shape[2:],
                         spatial_scale, sampling_ratio, aligned))

    def _roi_align_backward(self, grad, rois, spatial_scale, pooled_height,
                            pooled_width, batch_size, channels, height, width,
                            sampling_ratio, aligned):
        assert grad.shape[1:] == (channels, pooled_height, pooled_width)
        return ops.roi_align_gradient(
            grad, rois, batch_size,
            ops.Sampling((pooled_height, pooled_width), (height, width),
                         spatial_scale, sampling_ratio, aligned))


@pytest.mark.parametrize('name', ROI_CASES)
def test_kernels_of_torchvision_are_called_in_their_order(
        monkeypatch, record, name):
    monkeypatch.setattr(ops, '_torchvision', lambda device: FakeKernels())
    out, grad = run_roi(name)
    assert_near(out, torch.from_numpy(record[name]))
    assert_near(grad, torch.from_numpy(record[f'{name} grad']))


def test_nms_of_torchvision_is_not_asked_for_an_offset(monkeypatch):
    monkeypatch.setattr(ops, '_torchvision', lambda device: FakeKernels())
    boxes = torch.tensor([[0., 0., 1., 1.], [0., 0., 1., 2.]])
    scores = torch.tensor([0.9, 0.8])
    assert mmcv_nms(boxes, scores, 0.55)[1].tolist() == [0, 1]
    assert mmcv_nms(boxes, scores, 0.55, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize('error', [ImportError, OSError, RuntimeError, None])
def test_torchvision_serves_cuda_where_it_can_be_imported(monkeypatch, error):
    asked = []

    def import_module(name):
        asked.append(name)
        if error:
            raise error('operator torchvision::nms does not exist')

    monkeypatch.setattr(ops.importlib, 'import_module', import_module)
    find = ops._torchvision.__wrapped__
    assert find('cpu') is None and asked == []
    kernels = find('cuda')
    assert asked == ['torchvision']
    assert kernels is (None if error else torch.ops.torchvision)


@pytest.mark.parametrize('module, kernels, words', [
    (ops.StandIn(ops.NAME), None, 'eql_mmdet'),
    (ops.StandIn(ops.NAME), FakeKernels(), 'eql_mmdet, with torchvision'),
    (ModuleType(ops.NAME), FakeKernels(), 'compiled MMCV'),
])
def test_it_is_said_whose_operators_serve(monkeypatch, module, kernels, words):
    monkeypatch.setitem(sys.modules, ops.NAME, module)
    monkeypatch.setattr(ops, '_torchvision', lambda device: kernels)
    assert ops.describe_operators('cuda') == words


# The module itself.


def asked_names():
    """List the operators that MMCV's Python code asks for."""
    for path in sorted((Path(mmcv.__file__).parent / 'ops').glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr',
                                                      '') == 'load_ext':
                yield from ast.literal_eval(node.args[1])


def test_every_operator_that_mmcv_asks_for_is_there():
    module, names = ops.StandIn('mmcv._ext'), list(asked_names())
    assert len(names) > 100 and 'deform_conv_forward' in names
    assert all(callable(getattr(module, name)) for name in names)
    assert not hasattr(module, '__path__')


def test_other_operators_are_refused_with_the_command_that_compiles():
    message = ('serves .* alone, not deform_conv_forward: run "pip uninstall '
               '-y mmcv-lite; MMCV_WITH_OPS=1 pip install .*mmcv==2')
    with pytest.raises(NotImplementedError, match=message):
        ops.StandIn('mmcv._ext').deform_conv_forward(1, weight=2)


def test_maximum_pooling_is_refused():
    with pytest.raises(NotImplementedError, match='pool_mode "max"'):
        mmcv_roi_align(
            torch.rand(1, 5, 9, 9), torch.rand(1, 5), 2, 1., 0, 'max')


def test_compiled_operators_stay_untouched(monkeypatch):
    before = sys.modules['mmcv._ext']
    ops.install_operators()
    assert sys.modules['mmcv._ext'] is before


def in_a_process(code):
    """Run code where MMCV has no compiled operators."""
    hide = 'import sys; sys.modules["mmcv._ext"] = None\n'
    done = run([sys.executable, '-W', 'ignore', '-c', hide + code],
               stdout=PIPE,
               stderr=STDOUT,
               text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_mmdet_works_without_compiled_operators_and_says_so_once():
    out = in_a_process("""
import mmdet, eql_mmdet, torch
import mmdet.apis
import mmdet.models
from importlib.util import find_spec
from mmcv.ops import RoIAlign, get_compiler_version, nms
for _ in range(2):
    RoIAlign(2)(torch.ones(1, 8, 9, 9), torch.tensor([[0., 1, 1, 4, 4]]))
    print(nms(torch.rand(9, 4), torch.rand(9), 0.5)[1].dtype)
print(get_compiler_version(), find_spec('mmcv._ext').loader)
""")
    assert out.count('RoIAlign and NMS by eql_mmdet, with torch, inst') == 1
    assert out.count('torch.int64') == 2
    assert 'not compiled (stand-in of eql_mmdet) None' in out


@pytest.mark.slow
def test_mmdet_models_before_the_package_fail_in_mmcv():
    """docs/install.md says that eql_mmdet comes first; this is why."""
    out = in_a_process("""
try:
    import mmdet.models
except ModuleNotFoundError as error:
    print(error)
import eql_mmdet, mmdet.models
print('ready')
""")
    assert 'mmcv._ext' in out and out.endswith('ready\n')
