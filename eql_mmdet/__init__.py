"""Equalization Loss for MMDetection 3.x; importing registers everything."""
from .host import check_host

check_host()

from .compat import apply_fixes  # noqa: E402
from .datasets.lvis_dataset import LVISFormatDataset  # noqa: E402
from .datasets.samplers import RepeatFactorSampler  # noqa: E402
from .evaluation.lvis_metric import LVISEvalMetric  # noqa: E402
from .models.bbox_head import EQLBBoxHead, LargeVocabBBoxHead  # noqa: E402
from .models.losses import EqualizationLoss  # noqa: E402
from .models.mask_head import CropFCNMaskHead  # noqa: E402
from .version import __version__  # noqa: E402

apply_fixes()

__all__ = [
    'CropFCNMaskHead', 'EQLBBoxHead', 'EqualizationLoss', 'LVISEvalMetric',
    'LVISFormatDataset', 'LargeVocabBBoxHead', 'RepeatFactorSampler',
    '__version__'
]
