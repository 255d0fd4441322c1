"""COCO evaluation by the host, on the one reader and by name."""
import contextlib
import io
from typing import Any, Optional, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from ..annotations.annotations import Annotations
from ..annotations.findings import list_findings
from ..annotations.masks import usable_polygons
from ..annotations.training import evaluation_findings
from ..datasets.files import load_annotations
from ..heads.rle_masks import RLEMasks
from ..host.logs import warn_each


@METRICS.register_module()
class COCOEvalMetric(CocoMetric):
    """The host's ``CocoMetric`` for files and masks of any origin.

    The numbers are those of the host. The annotation file is read by the
    reader of the data sets, categories are those of the data set by name,
    and masks may be RLE (``LargeVocabMaskHead(rle=True)``).

    Args:
        ann_file: The annotation file of the data set that is tested.
        backend_args: Of the file backend that reads it.
        **kwargs: The host's ``CocoMetric`` arguments.

    Raises:
        ValueError: If the file is refused, or masks are to be compared and
            an object has none.
    """
    default_prefix = 'coco'

    def __init__(self,
                 ann_file: str,
                 backend_args: Optional[dict] = None,
                 **kwargs) -> None:
        super().__init__(ann_file=None, backend_args=backend_args, **kwargs)
        self.annotations = load_annotations(ann_file, backend_args)
        findings = self.annotations.findings + evaluation_findings(
            self.annotations)
        warn_each(list_findings(ann_file, findings))
        if self.annotations.is_test_set and not self.format_only:
            raise ValueError(
                f'{ann_file} has no "annotations": nothing can be evaluated '
                f'on it; set format_only=True to write a submission')
        with_masks = 'segm' in self.metrics and not self.format_only
        if with_masks:
            self._check_masks()
        self._coco_api = coco_api(self.annotations, with_masks)

    def _check_masks(self) -> None:
        annotations = self.annotations
        missing = annotations.first_without_mask(
            np.ones(len(annotations.image), bool))
        if missing:
            raise ValueError(
                f'metric="segm" compares masks, but in {annotations.path} '
                f'{missing}; draw it, take the annotation out, or evaluate '
                f'metric="bbox"')

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: Optional[dict]) -> None:
        """Number the categories as the data set does: by name."""
        if dataset_meta and dataset_meta.get('classes') is not None:
            label_map = self.annotations.label_map(dataset_meta['classes'])
            rows = np.argsort(label_map, kind='stable')[(label_map < 0).sum():]
            self.cat_ids = [self.annotations.categories[k].id for k in rows]
        self._dataset_meta = dataset_meta

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect the predictions of one batch.

        Args:
            data_batch: Not used.
            data_samples: Data samples with ``pred_instances``, as dicts.

        Raises:
            ValueError: If the annotation file does not have an image.
        """
        for sample in data_samples:
            if sample['img_id'] not in self._coco_api.imgs:
                raise ValueError(
                    f'image {sample["img_id"]} of the predictions is not in '
                    f'{self.annotations.path}; use the ann_file of the data '
                    f'set')
        super().process(data_batch, [_with_dicts(s) for s in data_samples])


def _with_dicts(sample: dict) -> dict:
    predicted = sample['pred_instances']
    if isinstance(predicted.get('masks'), RLEMasks):
        rles = predicted['masks'].rles
        return dict(sample, pred_instances=dict(predicted, masks=rles))
    return sample


def coco_api(annotations: Annotations, with_masks: bool) -> COCO:
    """Give the host's COCO interface what a file says.

    Annotations are numbered from 1, since COCO's evaluation takes the number
    0 for "no match".

    Args:
        annotations: The file.
        with_masks: Whether masks will be compared.

    Returns:
        The interface, as if it had read the file.
    """
    api = COCO()
    api.dataset = dict(
        info={},
        images=[
            dict(
                id=i.id, file_name=i.file_name, height=i.height, width=i.width)
            for i in annotations.images
        ],
        categories=[
            dict(id=c.id, name=c.name) for c in annotations.categories
        ],
        annotations=[
            _annotation(annotations, i, with_masks)
            for i in range(len(annotations.image))
        ])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        api.createIndex()
    api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
    return api


def _annotation(annotations: Annotations, index: int,
                with_masks: bool) -> dict:
    item = dict(
        id=index + 1,
        image_id=annotations.images[annotations.image[index]].id,
        category_id=annotations.categories[annotations.category[index]].id,
        bbox=annotations.boxes[index].tolist(),
        area=float(annotations.areas[index]),
        iscrowd=int(annotations.is_crowd[index]))
    if with_masks:
        mask: Any = annotations.load_mask(index)
        item['segmentation'] = usable_polygons(mask) if isinstance(
            mask, list) else mask
    return item
