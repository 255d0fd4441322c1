"""Class names that the host knows."""
from typing import Tuple

from mmdet.datasets import CocoDataset


def coco_classes() -> Tuple[str, ...]:
    """Name the 80 categories of COCO.

    Returns:
        The names by category id, the order of every detector of COCO.
    """
    return tuple(CocoDataset.METAINFO['classes'])
