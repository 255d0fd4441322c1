"""LVIS evaluation, exact and fast, as a metric of MMDetection."""
import os.path as osp
import sys
import time
from typing import Dict, List, Optional, Sequence, Union

from mmdet.registry import METRICS
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.utils import mkdir_or_exist

from ..annotations.findings import list_findings
from ..annotations.lvis_index import lvis_index
from ..annotations.training import evaluation_findings
from ..datasets.files import load_annotations
from ..host.logs import warn_each
from . import protocol
from .engines import ENGINES
from .ground_truth import ground_truth
from .per_category import category_rows, group_table, write_rows
from .predictions import read_sample
from .results import ImageResult, Needs, compact, merge_results
from .submission import write_submission


@METRICS.register_module()
class LVISEvalMetric(BaseMetric):
    """Evaluate boxes and masks by the LVIS protocol.

    The numbers are those of the official ``lvis`` package to the last bit,
    as fractions; -1 stands for a group without ground truth.

    Args:
        ann_file: The LVIS annotation file of the data set that is tested.
        metric: One or more of ``'bbox'``, ``'segm'``, ``'proposal'``
            (class-agnostic box recall) and ``'lvis_fixed'`` (Fixed AP of
            boxes, and of masks if there are any).
        classwise: Whether to log a table of the groups with their best and
            worst categories, and to write all categories to
            ``{outfile_prefix}.per_category.csv`` or, without a prefix, to
            ``per_category.csv`` beside the log file.
        proposal_nums: Numbers of boxes of an image for ``'proposal'``.
        metric_items: Items to record, such as ``'AP'`` or ``'APr'``; all of
            them by default.
        format_only: Whether to write submission files and evaluate nothing.
        outfile_prefix: Where to write submission files with every detection,
            ``{prefix}.bbox.json`` and ``{prefix}.segm.json``; none by
            default.
        engine: ``'hotcoco'``, or ``'lvis'`` for the official package.
        collect_device: ``'cpu'`` or ``'gpu'``: how processes exchange results.
        prefix: Of the metric names; ``'lvis'`` by default.
        backend_args: Of the file backend that reads ``ann_file``.

    Raises:
        ValueError: If an argument or the annotation file is wrong.
        ImportError: If the package of the engine is missing.
    """
    default_prefix: Optional[str] = 'lvis'

    def __init__(self,
                 ann_file: str,
                 metric: Union[str, Sequence[str]] = 'bbox',
                 classwise: bool = False,
                 proposal_nums: Sequence[int] = (100, 300, 1000),
                 metric_items: Optional[Sequence[str]] = None,
                 format_only: bool = False,
                 outfile_prefix: Optional[str] = None,
                 engine: str = 'hotcoco',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 backend_args: Optional[dict] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        self.proposal_nums = sorted(proposal_nums)
        known_items = protocol.metric_items(self.proposal_nums)
        self.metric_items = list(metric_items or known_items)
        _check_choices('metric_items', self.metric_items, known_items)
        _check_choices('engine', [engine], list(ENGINES))
        if not self.proposal_nums or self.proposal_nums[0] < 1:
            raise ValueError(f'proposal_nums must be numbers of at least 1, '
                             f'but got {proposal_nums}')
        if classwise and self.metrics == ['proposal']:
            raise ValueError('classwise=True needs a metric with categories, '
                             'but metric is only "proposal"')
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True needs outfile_prefix, the '
                             'beginning of the paths to write, but got None')
        self.ann_file = ann_file
        self.classwise = classwise
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self.engine = ENGINES[engine]
        self.engine.package()
        self.backend_args = backend_args
        annotations = load_annotations(ann_file, backend_args)
        self.index = lvis_index(annotations, ground_truth=not format_only)
        findings = annotations.findings + evaluation_findings(annotations)
        warn_each(list_findings(ann_file, findings))
        if format_only:
            self.needs = Needs(file=True)
        else:
            needs = protocol.needs_of(self.metrics, self.proposal_nums,
                                      self.index)
            self.needs = needs._replace(file=outfile_prefix is not None)

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: Optional[dict]) -> None:
        """Number the categories as the data set does: by name."""
        if dataset_meta and dataset_meta.get('classes') is not None:
            self.index = lvis_index(
                self.index.annotations,
                dataset_meta['classes'],
                ground_truth=not self.format_only)
        self._dataset_meta = dataset_meta

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Check, thin out and encode the predictions of one batch.

        Args:
            data_batch: Not used.
            data_samples: Data samples with ``pred_instances``, as dicts.

        Raises:
            ValueError: If predictions do not fit the annotation file or hold
                values that cannot be evaluated; it names the image.
        """
        for sample in data_samples:
            raw = read_sample(sample, self.index)
            self.results.append(compact(raw, self.index, self.needs))

    def evaluate(self, size: int) -> dict:
        """Collect the results of all processes and compute the metrics.

        Args:
            size: Images of the data set. Not used: the host would cut the
                results to this number, which is right for its own samplers
                only; here repeated images are found by their ids.

        Returns:
            The metrics, with prefix.
        """
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: List[ImageResult]) -> Dict[str, float]:
        """Compute the metrics of the whole data set.

        Args:
            results: Of ``process``, from all processes.

        Returns:
            ``{metric}_{item}``, for proposals only ``{item}`` -> fraction.
        """
        logger = MMLogger.get_current_instance()
        predicted = len(results)
        results = merge_results(results, padding=get_world_size() - 1)
        if len(results) < predicted:
            logger.info(f'{predicted - len(results)} images were predicted '
                        f'again, as samplers do to give all processes the '
                        f'same number; their first prediction counts')
        missing = len(self.index.sizes) - len(results)
        if missing:
            logger.warning(
                f'{missing} of {len(self.index.sizes)} images of '
                f'"{self.ann_file}" have no prediction; like lvis, this '
                f'counts them as images without detections')
        if not any(len(result.uses) for result in results):
            logger.warning('There is no detection that can count')
        if self.outfile_prefix is not None:
            self._write_files(results)
        if self.format_only:
            return {}
        return self._evaluate(results)

    def _write_files(self, results: List[ImageResult]) -> None:
        names = ['bbox']
        if any(result.rle is not None for result in results):
            names.append('segm')
        for name in names:
            path = f'{self.outfile_prefix}.{name}.json'
            mkdir_or_exist(osp.dirname(path))
            write_submission(path, results, self.index, name == 'segm')
            MMLogger.get_current_instance().info(
                f'All detections are in {path}')

    def _evaluate(self, results: List[ImageResult]) -> Dict[str, float]:
        logger = MMLogger.get_current_instance()
        left_out = protocol.masks_left_out(self.metrics, results, self.index)
        if left_out:
            logger.warning(left_out)
        with_masks = protocol.compares_masks(self.metrics, results, self.index)
        engine = self.engine(
            ground_truth(self.index, with_masks), log=logger.info)
        values, curves = {}, {}
        for metric in self.metrics:
            start = time.perf_counter()
            logger.info(f'Evaluating {metric}...')
            for found in protocol.evaluate(engine, metric, results, self.index,
                                           self.proposal_nums):
                head = '' if metric == 'proposal' else f'{found.name}_'
                values.update({
                    f'{head}{item}': value
                    for item, value in found.values.items()
                    if item in self.metric_items
                })
                if metric != 'proposal':
                    curves[found.name] = found.curves
            logger.info(f'Evaluating {metric} took '
                        f'{time.perf_counter() - start:.1f} s')
        if self.classwise:
            self._report_categories(curves)
        return values

    def _report_categories(self, curves: dict) -> None:
        logger = MMLogger.get_current_instance()
        rows = category_rows(self.index, curves)
        logger.info('\n' + group_table(rows))
        path = None
        if self.outfile_prefix is not None:
            path = f'{self.outfile_prefix}.per_category.csv'
        elif logger.log_file is not None:
            path = osp.join(osp.dirname(logger.log_file), 'per_category.csv')
        if path is not None:
            write_rows(path, rows)
            logger.info(f'All categories are in {path}')


def _check_choices(name: str, values: Sequence[str],
                   choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise ValueError(
                f'{name} must be of {list(choices)}, but got {value!r}')
