"""Classes from the file into the config: said once, and checked."""
import os.path as osp
from typing import Any, List, NamedTuple, Optional, Tuple

from mmengine.fileio import list_from_file
from mmengine.runner import CheckpointLoader

from ..annotations.category_counts import class_names, is_there
from ..annotations.names import canonical, check_names
from .config_parts import (annotation_file, counting_parts, datasets_of,
                           heads_of, is_annotated, metrics_of,
                           misplaced_losses, slots_of)
from .files import load_annotations
from .resumable_config import make_resumable

#: Metrics that take masks as RLE.
_TAKE_RLE = ('LVISEvalMetric', 'COCOEvalMetric')


class Classes(NamedTuple):
    """The classes of a config, in label order.

    Attributes:
        names: K names.
        source: Where they are from, for messages.
        is_chosen: Whether the config names them, and files may have more.
    """
    names: Tuple[str, ...]
    source: str
    is_chosen: bool


def fill_classes(cfg: Any) -> None:
    """Fill in what a config leaves to its data sets, which it has as None.

    A box or mask head with ``num_classes=None`` gets the number of classes
    of the training set: those of ``metainfo=dict(classes=...)``, or all of
    its annotation file; without that file it stays None. A loss or a
    calibration with ``frequency_source=None`` gets the annotation file of
    the training set, and a metric with ``ann_file=None`` that of its data
    set.

    Args:
        cfg: A config of the host, changed in place.
    """
    filled = _fill_paths(cfg)
    heads = [head for _, head in heads_of(cfg)]
    if any(head.get('num_classes', 0) is None for head in heads):
        classes = find_classes(cfg)
        if classes is not None:
            filled += _fill_numbers(cfg, len(classes.names))
    # Beside the settings: it survives copies and is never written out.
    object.__setattr__(cfg, '_filled_in', filled)


def complete_config(cfg: Any) -> None:
    """Make heads, losses, data sets and metrics agree on the classes.

    Numbers that a config leaves to the file are filled in, numbers that it
    states are checked; losses, calibrations and the sets that are validated
    and tested on get the classes of the training set, by name. And every
    run gets what :func:`make_resumable` gives.

    Args:
        cfg: The config of a runner, changed in place.

    Raises:
        TypeError: If classes are not a sequence of names.
        ValueError: If something of the config does not fit the classes, a
            loss stands in a head that cannot use it, a metric cannot read
            the masks of the mask head, or a calibration of a cascade would
            never be used.
    """
    if not _is_ours(cfg):
        return
    _check_places(cfg)
    filled = getattr(cfg, '__dict__', {}).get('_filled_in', ())
    for place, settings, key in slots_of(cfg):
        if place in filled:  # the data may be other ones by now
            settings[key] = None
    _fill_paths(cfg)
    classes = find_classes(cfg) or _checkpoint_classes(cfg)
    if classes is not None:
        _fill_numbers(cfg, len(classes.names))
        _check_heads(cfg, classes)
        _hand_on(cfg, classes)
    _check_masks(cfg)
    _check_calibrations(cfg)
    make_resumable(cfg)


def find_classes(cfg: Any) -> Optional[Classes]:
    """Find the classes that a config trains.

    Args:
        cfg: A config of the host.

    Returns:
        Those of the training set; without its file those of the set that is
        tested or validated on; None if nothing is known. Only data sets on
        the one reader are looked at, unless ``metainfo`` names classes.
    """
    for loader in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        for dataset in datasets_of(cfg, loader):
            chosen = (dataset.get('metainfo') or {}).get('classes')
            if chosen is not None:
                if isinstance(chosen, str) and osp.isfile(chosen):
                    chosen = list_from_file(chosen)
                return Classes(
                    check_names(chosen), f'metainfo of {loader}', True)
            path = annotation_file(dataset)
            if is_annotated(dataset) and osp.isfile(path):
                names = load_annotations(path,
                                         dataset.get('backend_args')).names
                return Classes(names, path, False)
    return None


def _fill_paths(cfg: Any) -> List[tuple]:
    """Name the annotation files where the data sets say which they are."""
    filled = []
    for place, settings, key in slots_of(cfg):
        if key == 'num_classes' or settings.get(key, '') is not None:
            continue
        split = 'train' if key == 'frequency_source' else place[0]
        for dataset in datasets_of(cfg, f'{split}_dataloader')[:1]:
            settings[key] = annotation_file(dataset)
            filled.append(place)
    return filled


def _fill_numbers(cfg: Any, number: int) -> List[tuple]:
    """Write the number of classes where it is None; return the places."""
    filled = []
    for place, settings, key in slots_of(cfg):
        if key == 'num_classes' and settings.get(key, 0) is None:
            settings[key] = number
            filled.append(place)
    return filled


def _is_ours(cfg: Any) -> bool:
    """Whether a config imports this package or reads through it."""
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    return any(i.split('.')[0] == 'eql_mmdet' for i in imports) or any(
        map(is_annotated, datasets_of(cfg, 'train_dataloader')))


def _checkpoint_classes(cfg: Any) -> Optional[Classes]:
    """Ask the checkpoint where no annotation file is left to ask."""
    path = cfg.get('load_from')
    unknown = any(
        head.get('num_classes', 0) is None for _, head in heads_of(cfg))
    if not (path and unknown):
        return None
    meta = CheckpointLoader.load_checkpoint(
        path, map_location='cpu').get('meta') or {}
    names = (meta.get('dataset_meta') or {}).get('classes')
    return names and Classes(check_names(names), path, False)


def _check_places(cfg: Any) -> None:
    """Refuse a loss in a head that asks other things of it."""
    for found in misplaced_losses(cfg.get('model')):
        raise ValueError(
            f'model.{found}, which is for the box heads of two-stage '
            f'detectors (roi_head.bbox_head); one-stage detectors and DETR '
            f'need another loss')


def _check_heads(cfg: Any, classes: Classes) -> None:
    for (kind, number), head in heads_of(cfg):
        stated = head.get('num_classes')
        if stated is not None and stated != len(classes.names):
            raise ValueError(
                f'{kind}.num_classes is {stated}, but the data have '
                f'{len(classes.names)} classes ({classes.source}): '
                f'{", ".join(classes.names[:5])}'
                f'{", ..." if len(classes.names) > 5 else ""}; write '
                f'num_classes=None to take the number from the data')


def _hand_on(cfg: Any, classes: Classes) -> None:
    """Give losses, calibrations and data sets the classes, by name."""
    parts = [p for _, head in heads_of(cfg) for _, p in counting_parts(head)]
    for part in parts:
        source = part.get('frequency_source')
        if not source or part.get('classes') or not is_there(source):
            continue
        names = class_names(source)
        if canonical(names) != canonical(classes.names):
            part['classes'] = classes.names
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in datasets_of(cfg, loader):
            if is_annotated(dataset) and not (dataset.get('metainfo')
                                              or {}).get('classes'):
                _hand_to(dataset, classes)


def _hand_to(dataset: dict, classes: Classes) -> None:
    path = annotation_file(dataset)
    if not osp.isfile(path):
        return
    names = load_annotations(path, dataset.get('backend_args')).names
    if canonical(names) == canonical(classes.names):
        return
    more = sorted(set(canonical(names)) - set(canonical(classes.names)))
    if more and not classes.is_chosen:
        raise ValueError(
            f'{path} has categories that {classes.source} does not have: '
            f'{", ".join(more[:5])}; name the classes to train in '
            f'metainfo=dict(classes=(...)) of the data sets to leave others '
            f'out, or give both files the same categories')
    dataset['metainfo'] = dict(
        dataset.get('metainfo') or {}, classes=classes.names)


def _check_masks(cfg: Any) -> None:
    """Refuse RLE masks with a metric that wants bitmaps."""
    rle = any(
        head.get('rle') for (kind, _), head in heads_of(cfg)
        if kind == 'mask_head')
    for name in ('val_evaluator', 'test_evaluator'):
        for metric in metrics_of(cfg, name):
            wanted = metric.get('metric', ())
            wanted = [wanted] if isinstance(wanted, str) else wanted
            if rle and 'segm' in wanted and metric['type'] not in _TAKE_RLE:
                raise ValueError(
                    f'{name} is {metric["type"]}, which wants masks as '
                    f'bitmaps, but the mask head has rle=True; use '
                    f'COCOEvalMetric or LVISEvalMetric, or set rle=False')


def _check_calibrations(cfg: Any) -> None:
    """Refuse a calibration of any but the last head of a cascade."""
    heads = [head for (kind, _), head in heads_of(cfg) if kind == 'bbox_head']
    calibrated = [n for n, h in enumerate(heads) if h.get('calibration')]
    if calibrated and calibrated[-1] != len(heads) - 1:
        raise ValueError(
            f'a cascade takes its scores from the last of its {len(heads)} '
            f'box heads, bbox_head.{len(heads) - 1}, but the calibration is '
            f'that of bbox_head.{calibrated[-1]}; give it to the last one')
