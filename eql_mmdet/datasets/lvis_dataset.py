"""LVIS-format data whose classes are those of its own annotation file."""
import json
from typing import List

from mmdet.datasets import LVISV05Dataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_text


@DATASETS.register_module()
class LVISFormatDataset(LVISV05Dataset):
    """A data set in LVIS format with categories of its own.

    The host's ``LVISV05Dataset`` takes its labels from the annotation file,
    but its class names from LVIS v0.5, whatever the file says. Here the
    names come from the file too, so that pictures and tables name what was
    found.
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
