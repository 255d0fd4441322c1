"""MMCV's operators where MMCV was not compiled: a stand-in for mmcv._ext.

All of MMCV's Python code stays what it is; it asks the module ``mmcv._ext``
for its operators. The stand-in has every name that is asked for. RoIAlign,
NMS and soft-NMS work, by torchvision's kernels on CUDA where torchvision
can be imported, else by ``roi_align.py`` and ``nms_ops.py``; every other
operator is refused with the command that compiles MMCV.
"""
import functools
import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Callable, Optional

import torch
from mmengine.logging import print_log
from torch import Tensor

from . import nms_ops
from .roi_align import roi_align, roi_align_gradient
from .roi_cells import Sampling

NAME = 'mmcv._ext'


class StandIn(ModuleType):
    """Module with an operator of every name."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('_'):
            raise AttributeError(f'module {NAME} has no attribute {name}')

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(_refusal(name))

        return refuse


def install_operators() -> None:
    """Make the stand-in ``mmcv._ext``, unless MMCV was compiled."""
    if find_spec(NAME) is not None:
        return
    # No loader: mmengine then knows that MMCV was not compiled.
    module = StandIn(NAME, __doc__)
    module.__spec__ = ModuleSpec(NAME, loader=None)
    for serve in (nms, softnms, roi_align_forward, roi_align_backward,
                  get_compiler_version, get_compiling_cuda_version):
        setattr(module, serve.__name__, serve)
    sys.modules[NAME] = module
    importlib.import_module('mmcv')._ext = module


def build_command() -> str:
    """Return the command that compiles the operators of this MMCV."""
    try:
        package = f'onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        package = 'mmcv==2.1.0'
    return ('pip uninstall -y mmcv-lite; MMCV_WITH_OPS=1 pip install '
            '--no-cache-dir --force-reinstall --no-deps --no-build-isolation '
            f'{package}')


def describe_operators(device: str) -> str:
    """Say whose RoIAlign and NMS serve a type of device."""
    if not isinstance(sys.modules.get(NAME), StandIn):
        return 'compiled MMCV'
    served = _torchvision(device)
    return 'eql_mmdet' if served is None else 'eql_mmdet, with torchvision'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Keep boxes that no better kept box overlaps; see ``nms_ops.nms``."""
    kernels = _torchvision(boxes.device.type)
    if kernels is not None and offset == 0:
        exact = torch.promote_types(boxes.dtype, torch.float32)
        return kernels.nms(boxes.to(exact), scores.to(exact), iou_threshold)
    return nms_ops.nms(boxes, scores, iou_threshold, offset)


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float,
            sigma: float, min_score: float, method: int,
            offset: int) -> Tensor:
    """Lower scores instead of removing boxes; see ``nms_ops.soft_nms``."""
    _announce('torch')
    found, index = nms_ops.soft_nms(boxes, scores, iou_threshold, sigma,
                                    min_score, method, offset)
    dets[:len(found)] = found
    return index


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor,
                      argmax_y: Tensor, argmax_x: Tensor, aligned_height: int,
                      aligned_width: int, spatial_scale: float,
                      sampling_ratio: int, pool_mode: int,
                      aligned: bool) -> None:
    """Fill ``output`` (R, C, h, w); half precision computes in float32.

    Raises:
        NotImplementedError: If ``pool_mode`` is not 1, the average.
    """
    if pool_mode != 1:
        raise NotImplementedError(_refusal('roi_align of pool_mode "max"'))
    sampling = Sampling((aligned_height, aligned_width),
                        tuple(input.shape[2:]), spatial_scale, sampling_ratio,
                        bool(aligned))
    if input.is_meta:
        return
    exact = torch.promote_types(input.dtype, torch.float32)
    features, rois = input.to(exact), rois.to(exact)
    kernels = _torchvision(input.device.type)
    if kernels is not None:
        output.copy_(
            kernels.roi_align(features, rois, spatial_scale, *sampling.bins,
                              sampling_ratio, sampling.aligned))
        return
    with torch.autocast(input.device.type, enabled=False):
        output.copy_(roi_align(features, rois, sampling))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor,
                       argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Fill ``grad_input`` (N, C, H, W)."""
    sampling = Sampling((aligned_height, aligned_width),
                        tuple(grad_input.shape[2:]), spatial_scale,
                        sampling_ratio, bool(aligned))
    if grad_output.is_meta:
        return
    exact = torch.promote_types(grad_output.dtype, torch.float32)
    grad, rois = grad_output.to(exact), rois.to(exact)
    kernels = _torchvision(grad.device.type)
    if kernels is not None:
        grad_input.copy_(
            kernels._roi_align_backward(grad, rois, spatial_scale,
                                        *sampling.bins, *grad_input.shape,
                                        sampling_ratio, sampling.aligned))
        return
    with torch.autocast(grad.device.type, enabled=False):
        grad_input.copy_(
            roi_align_gradient(grad, rois, len(grad_input), sampling))


def get_compiler_version() -> str:
    """Say that there is none, for reports of the environment."""
    return 'not compiled (stand-in of eql_mmdet)'


def get_compiling_cuda_version() -> str:
    """Say that there is none, for reports of the environment."""
    return 'not compiled (stand-in of eql_mmdet)'


@functools.lru_cache(maxsize=None)
def _torchvision(device: str) -> Optional[Any]:
    """Return torchvision's kernels for a device, if they are the better.

    On a CPU they are those of MMCV, which are slower than ours.
    """
    if device == 'cuda':
        try:
            importlib.import_module('torchvision')
            _announce('torchvision')
            return torch.ops.torchvision
        # A torchvision of another torch raises what it likes.
        except (ImportError, OSError, RuntimeError):
            pass
    _announce('torch')
    return None


@functools.lru_cache(maxsize=None)
def _announce(source: str) -> None:
    print_log(
        f'RoIAlign and NMS by eql_mmdet, with {source}, instead of compiled '
        f'operators of MMCV',
        logger='current')


def _refusal(name: str) -> str:
    return (f'MMCV is not compiled, and eql_mmdet serves RoIAlign (average), '
            f'NMS and soft-NMS alone, not {name}: run "{build_command()}"')
