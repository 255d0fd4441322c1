"""Before the first image: do all parts of a run belong together?"""
from typing import Any, List, Optional, Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from ..annotations.names import canonical
from .annotated_dataset import AnnotatedDataset
from .files import load_annotations


@HOOKS.register_module()
class RunCheckHook(Hook):
    """Stop a run whose parts do not belong together.

    Training set, losses, heads, checkpoint, test set and metric must hold
    the same names in the same order. Where a data set can be renumbered by
    name, it is. Every run with a config of this package has this hook.
    """
    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Check the training set, the heads and the losses.

        Args:
            runner: The host's.

        Raises:
            ValueError: If they differ, or a loss has no frequencies.
        """
        classes = _classes(runner.train_dataloader.dataset)
        if classes is not None:
            _check_model(_model(runner), classes)
            _check_calibrations(_model(runner), classes)

    def before_val(self, runner: Runner) -> None:
        """Number the categories of the metrics as the data set does.

        Args:
            runner: The host's.

        Raises:
            ValueError: If a calibration has other names, or another order.
        """
        _align(runner.val_loop)
        _check_tested(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """As before validation."""
        _align(runner.test_loop)
        _check_tested(runner, runner.test_loop)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Hold the checkpoint to the model and the data that are tested.

        Args:
            runner: The host's.
            checkpoint: What was read.

        Raises:
            ValueError: If its class layers do not fit the model, its
                classes are not those of the data, or it is resumed and has
                no training state.
        """
        meta = checkpoint.get('meta') or {}
        known = (meta.get('dataset_meta') or {}).get('classes')
        if isinstance(runner._train_loop, BaseLoop):
            if runner._resume:
                _check_resumed(runner, checkpoint, known)
            return
        _check_layers(_model(runner), checkpoint, known)
        for loop in (runner._test_loop, runner._val_loop):
            if known is not None and isinstance(loop, BaseLoop):
                _follow(loop, tuple(known))


def _model(runner: Runner) -> nn.Module:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _leaves(dataset: Any) -> List[Any]:
    """List the data sets under wrappers."""
    inner = getattr(dataset, 'datasets', None)
    if inner is None and hasattr(dataset, 'dataset'):
        inner = [dataset.dataset]
    if inner is None:
        return [dataset]
    return [leaf for item in inner for leaf in _leaves(item)]


def _classes(dataset: Any) -> Optional[Sequence[str]]:
    """Name the classes of a data set in the order of its labels."""
    for leaf in _leaves(dataset):
        _check_host_dataset(leaf)
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def _check_host_dataset(dataset: Any) -> None:
    """Refuse what the host's data sets do without a word.

    ``CocoDataset`` drops a class that the file lacks and keeps the order of
    the file; the LVIS data sets take all categories of the file under the
    names of LVIS.
    """
    ids = getattr(dataset, 'cat_ids', None)
    if isinstance(dataset, AnnotatedDataset) or not isinstance(ids, list):
        return
    annotations = load_annotations(dataset.ann_file, dataset.backend_args)
    name = {c.id: c.name for c in annotations.categories}
    labels = [name[id_] for id_ in ids]
    stated = list(dataset.metainfo['classes'])
    if canonical(labels) != canonical(stated):
        raise ValueError(
            f'{type(dataset).__name__} numbers its labels as '
            f'{_some(labels)} of {dataset.ann_file} come, but its classes '
            f'are {_some(stated)}; use COCOFormatDataset or '
            f'LVISFormatDataset, which go by name')


def _check_model(model: nn.Module, classes: Sequence[str]) -> None:
    for name, module in model.named_modules():
        number = getattr(module, 'num_classes', None)
        if name.startswith('roi_head.') and isinstance(
                number, int) and number != len(classes):
            raise ValueError(
                f'{name} has num_classes={number}, but the training set has '
                f'{len(classes)} classes: {_some(classes)}')
        if hasattr(module, 'check_trainable'):
            module.check_trainable()
            if canonical(module.classes) != canonical(classes):
                raise ValueError(
                    f'the frequencies of {name} are those of '
                    f'{_some(module.classes)} ({module.source}), but the '
                    f'labels of the training set are {_some(classes)}; name '
                    f'them in this order in classes=(...) of the loss')


def _check_tested(runner: Runner, loop: BaseLoop) -> None:
    classes = _classes(loop.dataloader.dataset)
    if classes is not None:
        _check_calibrations(_model(runner), classes)


def _check_calibrations(model: nn.Module, classes: Sequence[str]) -> None:
    """Hold calibrations to the labels: those of the checkpoint by now."""
    for name, module in model.named_modules():
        calibration = getattr(module, 'calibration', None)
        known = getattr(calibration, 'classes', None)
        if known is not None and canonical(known) != canonical(classes):
            raise ValueError(
                f'the calibration of {name} has the counts of {_some(known)} '
                f'({calibration.source}), but the labels are '
                f'{_some(classes)}; name them in this order in classes=(...) '
                f'of the calibration')


def _check_resumed(runner: Runner, checkpoint: dict,
                   known: Optional[Sequence[str]]) -> None:
    meta = checkpoint.get('meta') or {}
    missing = [key for key in ('epoch', 'iter') if key not in meta]
    # Without it the host would start the optimizer anew, and not say so.
    missing += [k for k in ('message_hub', 'optimizer') if k not in checkpoint]
    if missing:
        path = runner._load_from or 'the last checkpoint'
        raise ValueError(
            f'{path} is to be resumed, but holds weights only, no training '
            f'state ({", ".join(missing)}); to start from its weights give '
            f'it as load_from (--cfg-options load_from=FILE), without '
            f'--resume')
    classes = _classes(runner.train_dataloader.dataset)
    if known is None:
        return
    if classes is not None and canonical(classes) != canonical(known):
        raise ValueError(
            f'the checkpoint was trained on {_some(known)}, but the training '
            f'set now has {_some(classes)}; resume with the classes and the '
            f'annotation file that it was begun with')


def _check_layers(model: nn.Module, checkpoint: dict,
                  known: Optional[Sequence[str]]) -> None:
    state = checkpoint.get('state_dict', checkpoint)
    for name, tensor in model.state_dict().items():
        if not name.startswith('roi_head.'):
            continue
        found = state.get(name, state.get(f'module.{name}'))
        shape = None if found is None else tuple(found.shape)
        if shape != tuple(tensor.shape):
            classes = '' if known is None else (
                f'; it was trained on {len(known)} classes: {_some(known)}')
            raise ValueError(
                f'the checkpoint does not fit the model: {name} is '
                f'{tuple(tensor.shape)} in the model and '
                f'{"missing" if shape is None else shape} in the '
                f'checkpoint{classes}')


def _follow(loop: BaseLoop, known: Sequence[str]) -> None:
    """Number the labels of the tested data as the checkpoint does."""
    dataset = loop.dataloader.dataset
    classes = _classes(dataset)
    if classes is None or canonical(classes) == canonical(known):
        return
    leaves = _leaves(dataset)
    if sorted(canonical(classes)) != sorted(canonical(known)) or not all(
            isinstance(leaf, AnnotatedDataset) for leaf in leaves):
        raise ValueError(
            f'the checkpoint was trained on {_some(known)}, but the data set '
            f'that is tested has {_some(classes)}; name the classes of the '
            f'checkpoint in metainfo=dict(classes=(...)) of the data set')
    print_log(
        f'The labels of the tested data are numbered as in the checkpoint: '
        f'{_some(known)}',
        logger='current')
    for leaf in leaves:
        leaf.use_classes(known)
    loop.evaluator.dataset_meta = dataset.metainfo


def _align(loop: BaseLoop) -> None:
    """Number the categories of the host's COCO metrics by name."""
    classes = _classes(loop.dataloader.dataset)
    for metric in loop.evaluator.metrics:
        api = getattr(metric, '_coco_api', None)
        if classes is None or getattr(metric, 'cat_ids',
                                      0) or not hasattr(api, 'cats'):
            continue
        ids = {category['name']: id_ for id_, category in api.cats.items()}
        missing = [name for name in classes if name not in ids]
        if missing:
            raise ValueError(
                f'the data set has the class "{missing[0]}", which the '
                f'annotation file of {type(metric).__name__} lacks: '
                f'{_some(list(ids))}; give both the same ann_file')
        metric.cat_ids = [ids[name] for name in classes]


def _some(names: Sequence[str]) -> str:
    text = ', '.join(map(str, names[:5]))
    return f'({text}, ... {len(names)} in all)' if len(
        names) > 5 else f'({text})'
