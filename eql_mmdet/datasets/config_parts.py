"""The parts of a config that have to do with classes, wherever they are."""
import os.path as osp
from typing import Any, Iterator, List, Tuple

from mmdet.registry import DATASETS, MODELS
from mmengine.utils import is_abs

from .annotated_dataset import AnnotatedDataset


def _dict(value: Any) -> dict:
    """Take settings; in other people's configs anything may stand there."""
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> List[dict]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if isinstance(item, dict)]


def datasets_of(cfg: Any, loader: str) -> List[Any]:
    """List the data sets of a loader, without their wrappers.

    Args:
        cfg: A config of the host.
        loader: Such as ``'train_dataloader'``.

    Returns:
        Their settings.
    """
    found, left = [], [_dict(cfg.get(loader)).get('dataset')]
    while left:
        dataset = left.pop(0)
        if isinstance(dataset, dict):
            inner = [dataset.get('dataset'), *(dataset.get('datasets') or ())]
            if any(inner):
                left = inner + left
            else:
                found.append(dataset)
    return found


def annotation_file(dataset: dict) -> str:
    """Give the path of a data set's annotations, as the host joins it.

    Args:
        dataset: Settings of a data set.

    Returns:
        The path; empty if there is none.
    """
    path, root = dataset.get('ann_file') or '', dataset.get('data_root')
    return osp.join(root, path) if root and path and not is_abs(path) else path


def is_annotated(dataset: dict) -> bool:
    """Tell whether a data set stands on the one reader.

    Args:
        dataset: Settings of a data set.

    Returns:
        True for ``COCOFormatDataset`` and ``LVISFormatDataset``.
    """
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, AnnotatedDataset)


def heads_of(cfg: Any) -> Iterator[Tuple[Tuple[str, int], dict]]:
    """Find the box and mask heads of a two-stage detector.

    Args:
        cfg: A config of the host.

    Yields:
        Kind and number of a head, and its settings.
    """
    model = _dict(cfg.get('model'))
    roi_head = _dict(_dict(model.get('module', model)).get('roi_head'))
    for kind in ('bbox_head', 'mask_head'):
        for number, head in enumerate(_dicts(roi_head.get(kind))):
            yield (kind, number), head


def misplaced_losses(part: Any, path: Tuple[str, ...] = ()) -> Iterator[str]:
    """Find losses of this package in heads that cannot use them.

    Args:
        part: The model of a config, or a part of it.
        path: Where in the model it is.

    Yields:
        Place and name of each: ``'panoptic_head.loss_cls is ...'``.
    """
    for item in part if isinstance(part, (list, tuple)) else ():
        yield from misplaced_losses(item, path)
    for key, value in part.items() if isinstance(part, dict) else ():
        if key == 'loss_cls' and path[-2:] != ('roi_head', 'bbox_head'):
            kind = _dict(value).get('type')
            kind = MODELS.get(kind) if isinstance(kind, str) else kind
            if getattr(kind, '__module__', '').startswith('eql_mmdet.losses'):
                yield f'{".".join((*path, key))} is {kind.__name__}'
        yield from misplaced_losses(value, (*path, key))


def counting_parts(head: dict) -> Iterator[Tuple[str, dict]]:
    """Find what of a head may want the counts of the training set.

    Args:
        head: Settings of a box or mask head.

    Yields:
        A name and the settings of the loss and the calibration.
    """
    yield 'loss', _dict(head.get('loss_cls'))
    yield 'calibration', _dict(head.get('calibration'))


def metrics_of(cfg: Any, evaluator: str) -> List[dict]:
    """List the metrics of an evaluator.

    Args:
        cfg: A config of the host.
        evaluator: Such as ``'val_evaluator'``.

    Returns:
        Their settings.
    """
    return _dicts(cfg.get(evaluator))


def slots_of(cfg: Any) -> Iterator[Tuple[tuple, dict, str]]:
    """Find what a config can leave to its data sets by writing None.

    Args:
        cfg: A config of the host.

    Yields:
        A name of the place, the settings and the key.
    """
    for place, head in heads_of(cfg):
        yield (*place, 'num_classes'), head, 'num_classes'
        for name, part in counting_parts(head):
            yield (*place, name), part, 'frequency_source'
    for name in ('val', 'test'):
        for number, metric in enumerate(metrics_of(cfg, f'{name}_evaluator')):
            yield (name, number), metric, 'ann_file'
