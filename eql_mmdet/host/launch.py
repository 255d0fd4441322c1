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

LVIS_HEADS = ('EQLBBoxHead', 'LargeVocabBBoxHead')


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
            asked of a model that the host cannot merge.
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
    if getattr(args, 'tta', False):
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        check_views(cfg)


def check_views(cfg: Config) -> None:
    """Refuse to merge several views of an image where the host cannot.

    ``DetTTAModel`` knows no masks, and keeps 100 detections of an image
    unless it is told otherwise. A ``tta_model`` of another type is left
    alone.

    Args:
        cfg: The config that is tested.

    Raises:
        ValueError: If the model has masks, or a box head of this package
            without a ``tta_model`` that says how many detections to keep.
    """
    tta = cfg.get('tta_model') or {}
    if tta.get('type', 'DetTTAModel') != 'DetTTAModel':
        return
    roi_head = cfg.model.get('roi_head') or {}
    # Detectors of one stage have their mask head beside the others.
    if roi_head.get('mask_head') or cfg.model.get('mask_head'):
        raise ValueError('--tta merges the boxes of several views and drops '
                         'masks, but the model has a mask head; test without '
                         '--tta')
    heads = roi_head.get('bbox_head') or []
    heads = heads if isinstance(heads, (list, tuple)) else [heads]
    ours = [h['type'] for h in heads if h.get('type') in LVIS_HEADS]
    if ours and not tta:
        raise ValueError(f'--tta keeps 100 detections of an image, but '
                         f'{ours[0]} is for LVIS, which counts 300; say how '
                         f'many in tta_model=dict(type="DetTTAModel", '
                         f'tta_cfg=...), or test without --tta')
