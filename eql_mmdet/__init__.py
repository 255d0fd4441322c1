"""Equalization Loss for MMDetection 3.x; importing registers everything."""
import os

# Read when torch is loaded: its threads then sleep while they wait, and leave
# the processor to others. Tools import this package before torch.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from .host.versions import check_host  # noqa: E402

check_host()

from .annotations.category_counts import count_annotations  # noqa: E402
from .annotations.category_counts import load_counts  # noqa: E402
from .annotations.reader import read_annotations  # noqa: E402
from .datasets.batches import ResumableBatchSampler  # noqa: E402
from .datasets.class_config import complete_config, fill_classes  # noqa: E402
from .datasets.format_datasets import COCOFormatDataset  # noqa: E402
from .datasets.format_datasets import LVISFormatDataset  # noqa: E402
from .datasets.format_datasets import VerifiedLVISV1Dataset  # noqa: E402
from .datasets.format_datasets import VerifiedLVISV05Dataset  # noqa: E402
from .datasets.resuming import ResumableIterTrainLoop  # noqa: E402
from .datasets.resuming import ResumeHook  # noqa: E402
from .datasets.run_check import RunCheckHook  # noqa: E402
from .datasets.samplers import RepeatFactorSampler  # noqa: E402
from .datasets.transforms import PackVerifiedInputs  # noqa: E402
from .evaluation.coco_metric import COCOEvalMetric  # noqa: E402
from .evaluation.lvis_metric import LVISEvalMetric  # noqa: E402
from .evaluation.saved import evaluate_predictions  # noqa: E402
from .heads.bbox_head import EQLBBoxHead, LargeVocabBBoxHead  # noqa: E402
from .heads.mask_head import LargeVocabHTCMaskHead  # noqa: E402
from .heads.mask_head import LargeVocabMaskHead  # noqa: E402
from .heads.roi_sampler import VerifiedRandomSampler  # noqa: E402
from .host.configs import watch_configs  # noqa: E402
from .host.fixes import apply_fixes  # noqa: E402
from .host.own_configs import find_own_configs  # noqa: E402
from .losses.balanced_softmax import BalancedSoftmaxLoss  # noqa: E402
from .losses.class_weights import ClassWeightedLoss  # noqa: E402
from .losses.equalization import EqualizationLoss  # noqa: E402
from .losses.equalization_v2 import EqualizationLossV2  # noqa: E402
from .losses.federated import FederatedLoss  # noqa: E402
from .losses.seesaw import SyncSeesawLoss  # noqa: E402
from .losses.softmax_equalization import SoftmaxEqualizationLoss  # noqa: E402
from .rarity.tail import choose_tail  # noqa: E402
from .reports.pressure_hook import CategoryPressureHook  # noqa: E402
from .retraining.classifier import Schedule  # noqa: E402
from .retraining.run import Pooling, retrain_classifier  # noqa: E402
from .version import __version__  # noqa: E402

apply_fixes()
find_own_configs()
watch_configs(fill_classes, complete_config)

__all__ = [
    'COCOEvalMetric', 'COCOFormatDataset', 'RunCheckHook',
    'BalancedSoftmaxLoss', 'CategoryPressureHook', 'ClassWeightedLoss',
    'EQLBBoxHead', 'EqualizationLoss', 'EqualizationLossV2', 'FederatedLoss',
    'LVISEvalMetric', 'LVISFormatDataset', 'LargeVocabBBoxHead',
    'LargeVocabHTCMaskHead', 'LargeVocabMaskHead', 'PackVerifiedInputs',
    'Pooling', 'RepeatFactorSampler', 'ResumableBatchSampler',
    'ResumableIterTrainLoop', 'ResumeHook', 'Schedule',
    'SoftmaxEqualizationLoss', 'SyncSeesawLoss', 'VerifiedLVISV05Dataset',
    'VerifiedLVISV1Dataset', 'VerifiedRandomSampler', 'choose_tail',
    'count_annotations', 'evaluate_predictions', 'load_counts',
    'read_annotations', 'retrain_classifier', '__version__'
]
