"""Pool the RoI features of a training set, once."""
import time
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures.bbox import bbox2roi
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from .feature_files import (ROI, Features, Layout, appending, check_space,
                            claim, gigabytes, num_done, read)

#: Seconds between two lines of the log.
INTERVAL = 10.0


class RoIs(NamedTuple):
    """What one image teaches, on the device of the model.

    Attributes:
        values: (R, C, h, w) features.
        rois: (R, 5) RoIs of batch index 0.
        targets: ``labels``, ``label_weights``, ``bbox_targets`` and
            ``bbox_weights`` as of ``BBoxHead.get_targets``.
    """
    values: Tensor
    rois: Tensor
    targets: Tuple[Tensor, Tensor, Tensor, Tensor]


def make_layout(folder: Any,
                model: nn.Module,
                num_images: int,
                background: Optional[int] = None,
                half: bool = False) -> Layout:
    """Say how large the features of a model can become.

    Args:
        folder: Of the files.
        model: The detector.
        num_images: N.
        background: The most background RoIs of an image.
        half: Whether to keep float16.

    Returns:
        The layout of the files.

    Raises:
        ValueError: If no RoI would be left.
    """
    head, sampler = model.roi_head.bbox_head, model.roi_head.bbox_sampler
    most = sampler.num
    if background is not None:
        most = min(most, int(most * sampler.pos_fraction) + background)
    if most < 1 or (background or 0) < 0:
        raise ValueError(f'expected a positive number of RoIs an image, but '
                         f'got {sampler.num}, {background} of them background')
    return Layout(folder, num_images, most,
                  (head.in_channels, *head.roi_feat_size),
                  np.dtype('float16' if half else 'float32'))


def pool(model: nn.Module,
         dataset: Any,
         layout: Layout,
         settings: dict,
         background: Optional[int] = None,
         num_workers: int = 0) -> Features:
    """Pool what is missing of a training set, in its order.

    Args:
        model: The detector on its device.
        dataset: The training set.
        layout: Of :func:`make_layout`.
        settings: Of ``feature_settings``.
        background: The most background RoIs of an image; all by default.
        num_workers: Processes that load images.

    Returns:
        The features, mapped from the files.

    Raises:
        OSError: If the disk has too little room.
        ValueError: If the folder holds other features.
    """
    most = layout.most_bytes(layout.num_images)
    claim(layout.folder,
          dict(settings, dtype=str(layout.dtype), background=background))
    done = num_done(layout)
    print_log(
        f'features of {layout.num_images} images, at most '
        f'{layout.rois_per_image} RoIs of '
        f'{" x ".join(map(str, layout.shape))} {layout.dtype} each: at most '
        f'{gigabytes(most)} in "{layout.folder}"; {done} images are there',
        logger='current')
    if done < layout.num_images:
        check_space(layout, done)
        with appending(layout) as writer:
            _pool_rest(model, dataset, num_done(layout), writer, background,
                       num_workers)
    return read(layout)


def _pool_rest(model: nn.Module, dataset: Any, start: int, writer: Any,
               background: Optional[int], num_workers: int) -> None:
    rest = range(start, len(dataset))
    # One image at a time: no padding, as when it is tested.
    loader = DataLoader(
        Subset(dataset, rest),
        collate_fn=pseudo_collate,
        num_workers=num_workers)
    begin = last = time.perf_counter()
    model.eval()
    for index, batch in zip(rest, loader):
        # Sampling depends on the image alone, so that it can be resumed.
        torch.manual_seed(index)
        np.random.seed(index)
        found = pool_image(model, batch, background)
        writer.add(found.values.cpu().numpy(), to_rows(found))
        now = time.perf_counter()
        if now - last > INTERVAL or index + 1 == len(dataset):
            last, each = now, (now - begin) / (index + 1 - start)
            print_log(
                f'pooled {index + 1} of {len(dataset)} images, '
                f'{1 / each:.1f} a second, '
                f'{each * (len(dataset) - index - 1) / 60:.1f} minutes left',
                logger='current')


@torch.no_grad()
def pool_image(model: nn.Module,
               batch: dict,
               background: Optional[int] = None) -> RoIs:
    """Sample the RoIs of one image as training does, and pool their features.

    Args:
        model: The detector, in test mode.
        batch: One image of the data set, collated.
        background: The most background RoIs; others are dropped at random.

    Returns:
        RoIs, features and targets.
    """
    roi_head = model.roi_head
    data = model.data_preprocessor(batch, False)
    x = model.extract_feat(data['inputs'])
    sampled = _sample(model, x, data['data_samples'])
    targets = roi_head.bbox_head.get_targets([sampled], roi_head.train_cfg)
    rois = bbox2roi([sampled.priors])
    if background is not None:
        is_background = targets[0] == roi_head.bbox_head.num_classes
        keep = _keep(is_background.cpu(), background).to(rois.device)
        rois, targets = rois[keep], tuple(t[keep] for t in targets)
    extractor = roi_head.bbox_roi_extractor
    values = extractor(x[:extractor.num_inputs], rois)
    return RoIs(values, rois, targets)


def _sample(model: nn.Module, x: Tuple[Tensor, ...], samples: list) -> Any:
    """Propose, assign and sample, as ``StandardRoIHead.loss``."""
    proposal_cfg = model.train_cfg.get('rpn_proposal', model.test_cfg.rpn)
    proposals, = model.rpn_head.predict_by_feat(
        *model.rpn_head(x),
        batch_img_metas=[sample.metainfo for sample in samples],
        cfg=proposal_cfg)
    proposals.priors = proposals.pop('bboxes')
    (truth, ), (ignored, ), _ = unpack_gt_instances(samples)
    roi_head = model.roi_head
    assigned = roi_head.bbox_assigner.assign(proposals, truth, ignored)
    return roi_head.bbox_sampler.sample(
        assigned, proposals, truth, feats=[level[:1] for level in x])


def _keep(is_background: Tensor, most: int) -> Tensor:
    """Choose RoIs: all of the foreground, some of the background."""
    negatives = is_background.nonzero()[:, 0]
    chosen = negatives[torch.randperm(len(negatives))[:most]]
    positives = (~is_background).nonzero()[:, 0]
    return torch.cat([positives, chosen.sort().values])


def to_rows(found: RoIs) -> np.ndarray:
    """Lay out RoIs and targets as the files hold them.

    Args:
        found: Of one image.

    Returns:
        (R,) of ``ROI``.
    """
    rows = np.zeros(len(found.rois), ROI)
    for name, value in zip(ROI.names, (found.rois, *found.targets)):
        rows[name] = value.cpu().numpy()
    return rows
