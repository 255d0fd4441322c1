"""LVIS data with what the host leaves out: own classes, verified sets."""
import json
from typing import List

from mmdet.datasets import LVISV1Dataset, LVISV05Dataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_text


class _VerifiedSets:
    """Adds the positive and the negative category set of every image."""

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse an image as the host does, and keep which labels are sure.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` of an image.

        Returns:
            The host's dictionary. If the file has ``neg_category_ids`` for
            the image, then also ``verified_labels``: the sorted labels of
            categories annotated in it or known to be absent. As in the host,
            categories that the file does not list are left out.
        """
        info = super().parse_data_info(raw_data_info)
        negative = raw_data_info['raw_img_info'].get('neg_category_ids')
        if negative is not None:
            present = (a['category_id'] for a in raw_data_info['raw_ann_info'])
            info['verified_labels'] = sorted(self.cat2label[i]
                                             for i in {*present, *negative}
                                             if i in self.cat2label)
        return info


@DATASETS.register_module()
class VerifiedLVISV05Dataset(_VerifiedSets, LVISV05Dataset):
    """LVIS v0.5 with ``verified_labels`` for ``PackVerifiedInputs``.

    The sets are those of Sec. 4.2 of [1], which the host does not read.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """


@DATASETS.register_module()
class VerifiedLVISV1Dataset(_VerifiedSets, LVISV1Dataset):
    """LVIS v1 with ``verified_labels`` for ``PackVerifiedInputs``.

    The sets are those of Sec. 4.2 of [1], which the host does not read.

    [1] Tan et al., CVPR 2020, https://arxiv.org/abs/2003.05176
    """


@DATASETS.register_module()
class LVISFormatDataset(_VerifiedSets, LVISV05Dataset):
    """A data set in LVIS format with categories of its own.

    The host's ``LVISV05Dataset`` takes its labels from the annotation file,
    but its class names from LVIS v0.5, whatever the file says. Here the
    names come from the file too, so that pictures and tables name what was
    found. Images that have ``neg_category_ids`` also get
    ``verified_labels``, as in :class:`VerifiedLVISV05Dataset`.
    """

    METAINFO = dict(classes=None, palette=None)

    def load_data_list(self) -> List[dict]:
        """Load the annotations and take the class names from them.

        Returns:
            One dictionary per image, as in the host.
        """
        data_list = super().load_data_list()
        text = get_text(self.ann_file, backend_args=self.backend_args)
        self._metainfo['classes'] = tuple(
            category['name'] for category in json.loads(text)['categories'])
        return data_list
