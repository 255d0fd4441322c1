"""Run MMDetection's own command-line tools with this package imported."""
import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional, Sequence

import mmdet
from mmengine.config import Config
from mmengine.dist import is_distributed
from torch.distributed import destroy_process_group

from .command_line import one_line_refusals


def load_host_tool(name: str) -> ModuleType:
    """Load ``tools/NAME.py`` of the installed MMDetection.

    Args:
        name: ``'train'`` or ``'test'``.

    Returns:
        The tool as a module with ``parse_args`` and ``main``.

    Raises:
        ImportError: If this MMDetection was installed without its tools.
    """
    path = Path(mmdet.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not path.is_file():
        raise ImportError(
            f'MMDetection {mmdet.__version__} was installed without its '
            f'configs and tools (there is no mmdet/.mim/tools/{name}.py); '
            f'reinstall it with pip')
    spec = importlib.util.spec_from_file_location(f'mmdet_{name}', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def run_host_tool(name: str, argv: Optional[Sequence[str]] = None) -> None:
    """Check the paths on the command line, then run the host's tool.

    The host leaves its process group to the end of the interpreter; here it
    ends before, as PyTorch asks.

    Args:
        name: ``'train'`` or ``'test'``.
        argv: Arguments after the name of the program; by default those of
            this process.

    Raises:
        SystemExit: If something on the command line is wrong.
    """
    tool = load_host_tool(name)
    if argv is not None:
        sys.argv[1:] = argv
    with one_line_refusals(name):
        check_arguments(tool.parse_args())
    tool.main()
    if is_distributed():
        destroy_process_group()


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what is wrong on the command line of a host's tool.

    Args:
        args: Of its ``parse_args``.

    Raises:
        ValueError: If a config or checkpoint is not a file, or ``--tta`` is
            asked of a model with masks, which the host cannot merge.
    """
    resume = getattr(args, 'resume', None)
    paths = {
        'config': args.config,
        'checkpoint': getattr(args, 'checkpoint', None),
        '--resume': None if resume == 'auto' else resume,
    }
    for option, path in paths.items():
        # A URL or a name like open-mmlab://... is left to the host.
        if path is not None and '://' not in path and not Path(path).is_file():
            raise ValueError(
                f'expected {option} to be a file, but there is no "{path}"')
    if getattr(args, 'tta', False) and _has_masks(args.config):
        raise ValueError('--tta merges the boxes of several views and drops '
                         'masks, but the model has a mask head; test without '
                         '--tta')


def _has_masks(config: str) -> bool:
    roi_head = Config.fromfile(config).model.get('roi_head') or {}
    return bool(roi_head.get('mask_head'))
