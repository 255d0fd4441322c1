"""Data sets in COCO and LVIS format, with the categories of their files."""
import numpy as np
from mmdet.registry import DATASETS

from .annotated_dataset import AnnotatedDataset
from .files import name_of_2017


@DATASETS.register_module()
class COCOFormatDataset(AnnotatedDataset):
    """A data set in COCO format with categories of its own.

    As the host's ``CocoDataset``, but labels go by name: without
    ``metainfo=dict(classes=...)`` they are all categories of the file in its
    order, and a name that the file lacks is refused.
    """


@DATASETS.register_module()
class LVISFormatDataset(AnnotatedDataset):
    """A data set in LVIS format: LVIS itself, or with categories of its own.

    As the host's ``LVISV05Dataset`` and ``LVISV1Dataset``, but class names
    come from the file. Images that have ``neg_category_ids`` also get
    ``verified_labels`` for ``PackVerifiedInputs``: the sorted labels of
    categories annotated in it or known to be absent, the sets of Sec. 4.2 of
    [1].

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """

    def _file_name(self, position: int) -> str:
        return name_of_2017(super()._file_name(position))

    def _extra_info(self, position: int, objects: np.ndarray) -> dict:
        negative = self.annotations.images[position].negative
        if negative is None:
            return {}
        present = self.annotations.category[objects].tolist()
        labels = self._label_map[sorted({*present, *negative})]
        return dict(verified_labels=sorted(labels[labels >= 0].tolist()))


@DATASETS.register_module()
class VerifiedLVISV05Dataset(LVISFormatDataset):
    """LVIS v0.5 with ``verified_labels``; now ``LVISFormatDataset``."""


@DATASETS.register_module()
class VerifiedLVISV1Dataset(LVISFormatDataset):
    """LVIS v1 with ``verified_labels``; now ``LVISFormatDataset``."""
