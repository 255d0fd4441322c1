"""A config as a person would write it for these files."""
from math import ceil
from typing import List, NamedTuple, Optional

from .methods import (CALIBRATIONS, Method, describe, loss_settings,
                      sampler_comment, sampler_settings)
from .survey import Split, Survey

#: Images that are shown in a training; never fewer than 12 epochs, as for
#: COCO, nor more than 100.
IMAGES_SHOWN = 36000
EPOCHS = (12, 100)
BATCH_SIZE = 2  # of a GPU, as the host has it
#: Warm-up of the host, in iterations; at most a tenth of the training.
WARM_UP = 500


class Detector(NamedTuple):
    """What is trained.

    Attributes:
        masks: Mask R-CNN; else Faster R-CNN.
        depth: Of the ResNet, 50 or 101; 18 for a trial run on a CPU.
        weights: Path or address of a checkpoint to start from, if any.
    """
    masks: bool
    depth: int
    weights: Optional[str] = None

    @property
    def base(self) -> str:
        """The config to inherit from."""
        size = 18 if self.depth == 18 else 50
        kind = 'mask' if self.masks else 'faster'
        return f'eql_mmdet::_base_/{kind}_rcnn_r{size}_fpn_custom.py'

    def __str__(self) -> str:
        kind = 'Mask' if self.masks else 'Faster'
        return f'{kind} R-CNN, ResNet-{self.depth}'


def epochs_for(num_images: int) -> int:
    """Choose how often a training set is shown.

    Args:
        num_images: That are trained on.

    Returns:
        A number of epochs.
    """
    least, most = EPOCHS
    return min(most, max(least, ceil(IMAGES_SHOWN / num_images)))


def config_text(found: Survey, method: Method, reasons: List[str],
                detector: Detector) -> str:
    """Write a config.

    Args:
        found: What the files are.
        method: The remedy.
        reasons: Why it was chosen, lines of a comment.
        detector: What is trained.

    Returns:
        The text of the file.

    Raises:
        ValueError: If the remedy has nothing to do on these counts.
    """
    trial = detector.depth == 18
    parts = [
        *_head(found, detector),
        *_comment([f'Method {method}: {describe(method)}.', *reasons]),
        *_model(found, method, detector),
        *_data(found, method, detector.masks),
        *([] if trial else _schedule(found.counts.num_images)),
    ]
    if detector.weights:
        parts += [
            '# Weights of COCO; without network download them elsewhere and '
            'write the path here.',
            f'load_from = {detector.weights!r}',
        ]
    return '\n'.join(parts) + '\n'


def _comment(lines: List[str]) -> List[str]:
    return [f'# {line}' for line in lines]


def _head(found: Survey, detector: Detector) -> List[str]:
    counts = found.counts
    there = counts.image_count[counts.image_count > 0]
    return [
        f'# {len(counts.ids)} categories in {counts.num_images} training '
        f'images, {there.min()} to {there.max()} images each.',
        f'_base_ = {detector.base!r}  # {detector}'
    ]


def _model(found: Survey, method: Method, detector: Detector) -> List[str]:
    lines = []
    if detector.weights:
        depth = '' if detector.depth == 50 else f'depth={detector.depth}, '
        lines.append(
            f'    backbone=dict({depth}init_cfg=None),  # its weights '
            f'come with load_from')
    loss = loss_settings(method, found.counts)
    _, calibration = CALIBRATIONS[method.calibration]
    parts = []
    if loss:
        parts += [
            "type='EQLBBoxHead'", f'loss_cls=dict(_delete_=True, {loss})'
        ]
    if calibration:
        parts.append(f'calibration=dict({calibration}, frequency_source=None)')
    if 'frequency_source=None' in ''.join(parts):
        lines.append('    # frequency_source=None: the counts of the training '
                     'file.')
    if parts:
        inner = ',\n        '.join(parts)
        lines.append(f'    roi_head=dict(bbox_head=dict(\n        {inner})),')
    if found.val.is_lvis:
        lines.append(
            '    test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)),  '
            '# as LVIS counts them')
    return ['model = dict(', *lines, ')'] if lines else []


def _data(found: Survey, method: Method, masks: bool) -> List[str]:
    sampler = sampler_settings(method, found.counts)
    lines = [
        'train_dataloader = dict(',
        *(f'    # {line}' for line in sampler_comment(method, found.counts)),
        f'    sampler=dict(_delete_=True, {sampler}),',
        f'    dataset={_dataset(found.train)})',
        f'val_dataloader = dict(dataset={_dataset(found.val)})',
        'test_dataloader = val_dataloader',
    ]
    if found.val.is_lvis:
        kinds = "['bbox', 'segm']" if masks else "['bbox']"
        lines += [
            f"val_evaluator = dict(_delete_=True, type='LVISEvalMetric', "
            f'ann_file=None, metric={kinds}, classwise=True)  # LVIS AP',
            'test_evaluator = val_evaluator'
        ]
    return lines


def _dataset(split: Split) -> str:
    kind = "type='LVISFormatDataset', " if split.is_lvis else ''
    return (f"dict({kind}data_root='', ann_file={split.ann!r}, "
            f'data_prefix=dict(img={split.images!r}))')


def _schedule(num_images: int) -> List[str]:
    epochs = epochs_for(num_images)
    every = max(1, epochs // 12)
    iterations = ceil(num_images / BATCH_SIZE) * epochs
    warm_up = min(WARM_UP, max(1, iterations // 10))
    drops = [epochs * 2 // 3, epochs * 11 // 12]
    return [
        f'# {epochs} epochs of {num_images} images; the learning rate falls '
        f'after 2/3 and 11/12.',
        f'train_cfg = dict(max_epochs={epochs}, val_interval={every})',
        'param_scheduler = [',
        f"    dict(type='LinearLR', start_factor=0.001, by_epoch=False, "
        f'begin=0, end={warm_up}),',
        f"    dict(type='MultiStepLR', by_epoch=True, begin=0, end={epochs}, "
        f'milestones={drops}, gamma=0.1)]',
        '# 0.02 for 16 images an iteration: 0.0025 for the 2 of one GPU, and '
        'more for more GPUs.',
        'auto_scale_lr = dict(enable=True, base_batch_size=16)',
        f'default_hooks = dict(checkpoint=dict(interval={every}, '
        f'max_keep_ckpts=2))',
    ]
