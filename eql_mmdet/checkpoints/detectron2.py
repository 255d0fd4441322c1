"""Mask R-CNN checkpoints of detectron2, for mmdet, and back."""
from typing import (Any, Dict, List, Mapping, NamedTuple, Optional, Sequence,
                    Tuple)

import torch
from torch import Tensor

from .class_names import choose_names
from .detectron2_checks import (ANCHORS, check_anchors, check_names,
                                check_tensor, count_categories)
from .detectron2_layout import (COUNTER, Entry, list_counters, list_entries,
                                measure_widths)

#: What some versions of detectron2 also save: constants of its config.
CONSTANTS = ('pixel_mean', 'pixel_std', *(f'{ANCHORS}{i}' for i in range(5)))


class Conversion(NamedTuple):
    """A converted checkpoint, and what was done.

    Args:
        checkpoint: What to write.
        moved: Old name, new name and shape of each tensor, from the stem to
            the mask head.
        notes: What the model is, what its config must say, what was added or
            left out.
    """
    checkpoint: Dict[str, Any]
    moved: List[Tuple[str, str, Tuple[int, ...]]]
    notes: List[str]


def to_mmdet(checkpoint: Mapping[str, Any],
             classes: Optional[Sequence[str]] = None) -> Conversion:
    """Convert what detectron2 saved.

    Args:
        checkpoint: With the tensors or arrays under ``'model'``, or these
            alone: those of ``GeneralizedRCNN`` with ResNet-50 or -101, FPN
            and ``StandardROIHeads``, or ``EQLROIHeads`` of the authors'
            release; batch norm frozen or not.
        classes: Names of the categories by their ids. By default those of
            LVIS or COCO if the number of categories is theirs.

    Returns:
        A checkpoint with ``'state_dict'``, whose tensors are those that came
        in. ``'meta'`` has the class names where they are known, as
        ``'dataset_meta'``, and constants of detectron2's config for the way
        back.

    Raises:
        TypeError: If a value is not a tensor or array of floating point.
        ValueError: If tensors are missing, unknown or of a wrong shape, the
            anchors are not those of the configs, or there are not as many
            names as categories.
    """
    model, rest = _unwrap(checkpoint)
    constants = {name: model.pop(name) for name in CONSTANTS if name in model}
    check_anchors(constants)
    depth = 101 if any('.res4.6.' in name for name in model) else 50
    counters = list_counters(depth)
    counted = any(name.endswith(COUNTER) for name in model)
    names = {
        entry.detectron2: entry
        for entry in list_entries(depth) + counters * counted
    }
    widths = _check_model(model, names, 'detectron2')
    named = choose_names(count_categories(widths), classes)
    notes = _describe_model(widths, depth) + [named.note]
    state = {entry.mmdet: model[name] for name, entry in names.items()}
    if not counted:
        notes += _add_counters(state, counters)
    notes += _describe_pixels(constants)
    notes += _list_names('kept in "meta" for the way back', constants)
    notes += _list_names('left out', rest)
    moved = [(e.detectron2, e.mmdet, tuple(model[e.detectron2].shape))
             for e in names.values()]
    meta = dict(detectron2=dict(constants=constants))
    if named.names is not None:
        meta['dataset_meta'] = dict(classes=named.names)
    return Conversion(dict(meta=meta, state_dict=state), moved, notes)


def to_detectron2(checkpoint: Mapping[str, Any]) -> Conversion:
    """Convert what mmdet saved, or ``to_mmdet`` made.

    Args:
        checkpoint: With the tensors under ``'state_dict'``, or these alone:
            those of the host's Mask R-CNN of the same depths.

    Returns:
        A checkpoint with ``'model'``, whose tensors are those that came in.
        Batch norm's counters are left out where all are 0: it was frozen.

    Raises:
        TypeError: If a value is not a tensor or array of floating point.
        ValueError: If tensors are missing, unknown or of a wrong shape.
    """
    state, rest = _unwrap(checkpoint)
    depth = 101 if any('.layer3.6.' in name for name in state) else 50
    counters = {entry.mmdet: entry for entry in list_counters(depth)}
    names = {entry.mmdet: entry for entry in list_entries(depth)}
    widths = _check_model(state, {**names, **counters}, 'mmdet')
    notes = _describe_model(widths, depth)
    if any(state[name] for name in counters):
        names.update(counters)
    else:
        notes.append(f'left out: {len(counters)} counters {COUNTER}, which '
                     f'are all 0: batch norm was frozen')
    model = {entry.detectron2: state[name] for name, entry in names.items()}
    constants = _constants(rest)
    model.update(constants)
    notes += _list_names('put back from "meta"', constants)
    notes += _list_names('left out', _left_out(rest))
    moved = [(e.mmdet, e.detectron2, tuple(state[e.mmdet].shape))
             for e in names.values()]
    return Conversion(dict(model=model), moved, notes)


def _add_counters(state: Dict[str, Tensor],
                  counters: List[Entry]) -> List[str]:
    for entry in counters:
        state[entry.mmdet] = torch.zeros((), dtype=torch.long)
    return [
        f'added: {len(counters)} counters {COUNTER} of 0; detectron2\'s '
        f'frozen batch norm has none'
    ]


def _constants(rest: Mapping[str, Any]) -> Dict[str, Tensor]:
    """Find what ``to_mmdet`` put aside, if it made this checkpoint."""
    meta = rest.get('meta') or {}
    found = meta.get('detectron2', {}).get('constants', {})
    constants = {k: check_tensor(k, v) for k, v in found.items()}
    check_anchors(constants)
    return {k: v for k, v in constants.items() if k in CONSTANTS}


def _left_out(rest: Mapping[str, Any]) -> List[str]:
    """Name what a checkpoint of detectron2 has no place for."""
    meta = set(rest.get('meta') or {})
    if meta - {'detectron2', 'dataset_meta'}:
        return list(rest)
    return [key for key in rest if key != 'meta'
            ] + ['class names'] * ('dataset_meta' in meta)


def _unwrap(checkpoint: Any) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Part the tensors of a checkpoint from all else in it."""
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f'expected a checkpoint, a dict, but got '
                        f'{type(checkpoint).__name__}')
    key = next((k for k in ('model', 'state_dict') if k in checkpoint), None)
    tensors = checkpoint if key is None else checkpoint[key]
    if not isinstance(tensors, Mapping):
        raise TypeError(f'expected names and tensors in "{key}", but got '
                        f'{type(tensors).__name__}')
    rest = {} if key is None else {
        k: v
        for k, v in checkpoint.items() if k != key
    }
    return {k: check_tensor(k, v) for k, v in tensors.items()}, rest


def _check_model(state: Mapping[str, Tensor], names: Mapping[str, Entry],
                 side: str) -> Dict[str, int]:
    """Hold names and shapes to those of the model; measure its widths."""
    check_names(state, names, side)
    return measure_widths({
        k: tuple(v.shape)
        for k, v in state.items()
    }, {
        k: v.shape
        for k, v in names.items()
    })


def _describe_model(widths: Mapping[str, int], depth: int) -> List[str]:
    """Say which model it is."""
    categories = [
        f'{k} categories and {"no " if k == widths["scores"] else ""}'
        f'background ({"sigmoid" if k == widths["scores"] else "softmax"})'
        for k in count_categories(widths)
    ]
    sizes = ', '.join(f'{k} {widths[k]}'
                      for k in ('stem', 'width', 'fpn', 'rpn', 'fc', 'mask'))
    return [
        f'ResNet-{depth}; channels: {sizes}',
        f'{widths["scores"]} scores: {" or ".join(categories)}',
        f'reg_class_agnostic={widths["boxes"] == 1} in the box head, '
        f'class_agnostic={widths["masks"] == 1} in the mask head',
        'not in the file: stride in the 1x1 (style="caffe") or 3x3 '
        '(style="pytorch") convolution',
    ]


def _describe_pixels(constants: Mapping[str, Tensor]) -> List[str]:
    """Say what the data preprocessor must do, as far as the file tells."""
    values = [
        f'{name[len("pixel_"):]}='
        f'{[round(v, 3) for v in constants[name].flatten().tolist()]}'
        for name in CONSTANTS[:2] if name in constants
    ]
    order = 'BGR or RGB (bgr_to_rgb)'
    if values:
        return [
            f'data_preprocessor: {", ".join(values)}',
            f'not in the file: {order}; a mean that begins with 103.5 is BGR'
        ]
    return [f'not in the file: mean, std and {order} of the images']


def _list_names(what: str, names: Mapping[str, Any]) -> List[str]:
    return [f'{what}: {", ".join(map(str, names))}'] if names else []
