"""The detector whose classifier is trained again, and its training set."""
import copy
import hashlib
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.registry import DATA_SAMPLERS, DATASETS, HOOKS, MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..annotations.names import canonical
from ..datasets.class_config import complete_config
from ..datasets.config_parts import annotation_file, datasets_of
from ..host.checkpoints import load_local_checkpoint

HEAD = 'roi_head.bbox_head.'
#: What starts anew: the classifier, and what a loss remembers.
ANEW = (f'{HEAD}fc_cls.', f'{HEAD}loss_cls.')


def read_config(path: str,
                options: Optional[dict] = None,
                rois_per_image: Optional[int] = None) -> Config:
    """Read a config as training does, its images as testing sees them.

    The pipeline of the training set becomes that of the test set, with the
    boxes loaded: no flip and no random scale, so that features are those
    that the classifier will meet.

    Args:
        path: Of the config.
        options: Settings to change in it, as ``--cfg-options``.
        rois_per_image: Replaces ``num`` of the RoI sampler.

    Returns:
        The config.

    Raises:
        ValueError: If its training set is wrapped, its test pipeline does
            not begin with loading an image, or its model has no R-CNN.
    """
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options or {})
    complete_config(cfg)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    dataset = cfg.train_dataloader.dataset
    tested = datasets_of(cfg, 'test_dataloader')
    if datasets_of(cfg, 'train_dataloader') != [dataset] or not tested:
        raise ValueError(
            f'expected a training set that is not wrapped and a test set, '
            f'but got {dataset.get("type")} to train on; images are '
            f'resampled by the sampler of train_dataloader')
    dataset.pipeline = with_boxes(tested[0].get('pipeline') or [])
    sampler = _roi_sampler(cfg.model)
    if rois_per_image is not None:
        sampler.num = rois_per_image
    return cfg


def _roi_sampler(model: Any) -> dict:
    rcnn = (model.get('train_cfg') or {}).get('rcnn')
    if not isinstance(rcnn, dict) or 'sampler' not in rcnn:
        raise ValueError(f'expected a two-stage detector with one R-CNN, but '
                         f'got {model.get("type")} with '
                         f'train_cfg.rcnn={_kind(rcnn)}; cascades and '
                         f'one-stage detectors cannot be retrained')
    return rcnn.sampler


def with_boxes(pipeline: List[dict]) -> List[dict]:
    """Load boxes in a test pipeline, right behind the image.

    The host's pipelines load them at the end, in the coordinates of the
    file.

    Args:
        pipeline: Of a test set.

    Returns:
        The pipeline that also transforms boxes.

    Raises:
        ValueError: If it does not begin with loading an image.
    """
    rest = [t for t in pipeline if t['type'] != 'LoadAnnotations']
    if not rest or not str(rest[0]['type']).startswith('LoadImage'):
        raise ValueError(f'expected a test pipeline that begins with loading '
                         f'an image, but got {[t["type"] for t in rest]}')
    return [rest[0], dict(type='LoadAnnotations', with_bbox=True), *rest[1:]]


def build_dataset(cfg: Config) -> Any:
    """Build the training set.

    Args:
        cfg: Of :func:`read_config`.

    Returns:
        The data set of the host.
    """
    return DATASETS.build(cfg.train_dataloader.dataset)


def build_sampler(cfg: Config, dataset: Any, seed: int) -> Any:
    """Build what decides which image comes next.

    Args:
        cfg: Of :func:`read_config`.
        dataset: The training set.
        seed: Of the sampler, unless the config names one.

    Returns:
        The sampler of ``train_dataloader``.
    """
    return DATA_SAMPLERS.build(
        cfg.train_dataloader.sampler,
        default_args=dict(dataset=dataset, seed=seed))


def build_detector(cfg: Config, dataset: Any) -> nn.Module:
    """Build the model and hold it to its training set.

    Args:
        cfg: Of :func:`read_config`.
        dataset: The training set.

    Returns:
        The model, its weights not yet there.

    Raises:
        ValueError: If the classifier of such a model cannot be trained
            alone, or model and data mean different classes.
    """
    model = revert_sync_batchnorm(MODELS.build(copy.deepcopy(cfg.model)))
    check_supported(model)
    # The check of every training; a hook needs no more of a runner.
    HOOKS.build(dict(type='RunCheckHook')).before_train(
        SimpleNamespace(
            train_dataloader=SimpleNamespace(dataset=dataset), model=model))
    return model


def check_supported(model: nn.Module) -> None:
    """Refuse models whose classifier cannot be trained from pooled features.

    Args:
        model: The detector.

    Raises:
        ValueError: If it is none with one head of FC layers, or if sampling
            or loss need more than features.
    """
    roi_head = getattr(model, 'roi_head', None)
    head = getattr(roi_head, 'bbox_head', None)
    if not isinstance(roi_head, StandardRoIHead) or not isinstance(
            head, ConvFCBBoxHead) or roi_head.with_shared_head:
        raise ValueError(
            f'expected a two-stage detector with one box head of FC layers '
            f'(ConvFCBBoxHead), but got {_kind(roi_head)} with '
            f'{_kind(head)}; cascades and other heads cannot be retrained')
    if getattr(head.loss_cls, 'keep_verified', False):
        raise ValueError('expected a loss that needs no category sets of the '
                         'images, but got keep_verified=True, for which '
                         'features are not enough')
    sampler = roi_head.bbox_sampler
    if hasattr(sampler, 'bbox_head') or not hasattr(sampler, 'num'):
        raise ValueError(
            f'expected a RoI sampler of a fixed number that does not ask the '
            f'classifier, but got {_kind(sampler)}; use RandomSampler')


def load_detector(model: nn.Module, path: str,
                  classes: Tuple[str, ...]) -> List[str]:
    """Load everything but the classifier and what its loss remembers.

    Args:
        model: The detector, changed in place.
        path: Of a checkpoint.
        classes: Of the training set, in label order.

    Returns:
        What was left out: names and shapes.

    Raises:
        ValueError: If anything else does not fit, or the checkpoint was
            trained on other classes.
    """
    checkpoint = load_local_checkpoint(path, map_location='cpu')
    meta = checkpoint.get('meta') or {}
    known = (meta.get('dataset_meta') or {}).get('classes')
    if known is not None and canonical(known) != canonical(classes):
        raise ValueError(
            f'"{path}" was trained on {len(known)} classes that begin with '
            f'"{known[0]}", but the training set of the config has '
            f'{len(classes)} that begin with "{classes[0]}"; they must be the '
            f'same in the same order')
    state = {
        name[len('module.'):] if name.startswith('module.') else name: value
        for name, value in checkpoint.get('state_dict', checkpoint).items()
    }
    kept = {k: v for k, v in state.items() if not k.startswith(ANEW)}
    _check_fit(model, kept, path)
    model.load_state_dict(kept, strict=False)
    return [f'{k} {tuple(state[k].shape)}' for k in state if k not in kept]


def _check_fit(model: nn.Module, state: Dict[str, Tensor], path: str) -> None:
    wanted = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.startswith(ANEW)
    }
    for name in sorted({*wanted, *state}):
        found = getattr(state.get(name), 'shape', None)
        found = found if found is None else tuple(found)
        if wanted.get(name) != found:
            raise ValueError(
                f'"{path}" does not fit the config: {name} is '
                f'{wanted.get(name, "missing")} in the model and '
                f'{"missing" if found is None else found} in the checkpoint; '
                f'only the classifier may differ')


def feature_settings(cfg: Config, checkpoint: str) -> Dict[str, Any]:
    """List all that pooled features depend on; the loss is not among it.

    Args:
        cfg: Of :func:`read_config`.
        checkpoint: Its path.

    Returns:
        Settings, and the digests of both files.
    """
    model = cfg.model.to_dict()
    roi_head, dataset = model['roi_head'], cfg.train_dataloader.dataset
    target_keys = ('num_classes', 'in_channels', 'roi_feat_size', 'bbox_coder',
                   'reg_decoded_bbox')
    return dict(
        checkpoint=_digest(checkpoint),
        annotations=_digest(annotation_file(dataset)),
        dataset=dataset.to_dict(),
        detector={
            k: model.get(k)
            for k in ('type', 'data_preprocessor', 'backbone', 'neck',
                      'rpn_head')
        },
        extractor=roi_head.get('bbox_roi_extractor'),
        targets={k: roi_head['bbox_head'].get(k)
                 for k in target_keys},
        proposals=model['train_cfg'].get('rpn_proposal',
                                         model['test_cfg']['rpn']),
        rois=model['train_cfg']['rcnn'])


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _kind(value: Any) -> str:
    return type(value).__name__
