"""What the losses share that know how often each category is trained."""
import logging
from typing import Any, Optional, Sequence

from mmengine.logging import print_log

from ..annotations.category_counts import CategoryCounts, is_there, load_counts
from ..annotations.findings import list_findings
from ..annotations.names import check_names
from ..host.logs import warn_each
from .contract import BoxLoss


class CountsLoss(BoxLoss):
    """Base of the losses that take the counts of the training set.

    A loss stores what it makes of the counts in ``_use_counts``, in buffers
    that are not persistent: they follow the model to its device, and the
    config rebuilds them, so that no checkpoint carries a second opinion.

    Args:
        frequency_source: Where the counts come from: ``'lvis_v0.5'``,
            ``'lvis_v1'``, a COCO/LVIS annotation file (``.json``) or a
            counts file (``.csv``) of ``tools/count_classes.py``.
        classes: Names in label order; by default all categories of the
            source in its order. Data sets on the one reader fill it in.
        reduction: ``'mean'``, ``'sum'`` or ``'none'`` over RoIs.
        loss_weight: Factor on the result.

    Raises:
        ValueError: If the reduction is another, or the source cannot be
            read or lacks a class. Where the source is not there at all, the
            model can be tested, and a training forward raises it.
    """

    def __init__(self, frequency_source: str, classes: Optional[Sequence[str]],
                 reduction: str, loss_weight: float) -> None:
        super().__init__(reduction, loss_weight)
        self.source = frequency_source
        #: K names in label order; None as long as nobody has told them.
        self.classes = None if classes is None else check_names(classes)
        self.has_counts = is_there(frequency_source)

    def load_counts(self) -> None:
        """Read the counts, if they are there, and use them."""
        if not self.has_counts:
            print_log(
                f'{type(self).__name__}: there is no "{self.source}", '
                f'so this model can be tested but not trained',
                logger='current',
                level=logging.WARNING)
            return
        counts = load_counts(self.source, self.classes)
        warn_each(list_findings(counts.source, counts.findings))
        self.classes = counts.names
        self._use_counts(counts)

    def _use_counts(self, counts: CategoryCounts) -> Any:
        raise NotImplementedError

    def check_trainable(self) -> None:
        """Refuse to train without frequencies.

        Raises:
            ValueError: If the source of the frequencies was not there when
                the loss was built.
        """
        if not self.has_counts:
            raise ValueError(
                f'{type(self).__name__} needs the frequencies of the training '
                f'set, but there was no frequency_source="{self.source}"; '
                f'give the training annotations, or a counts file of '
                f'tools/count_classes.py')

    def check_classes(self, num_classes: int) -> None:
        """Refuse a head of another number of categories than the counts.

        Args:
            num_classes: K of the head.

        Raises:
            ValueError: If the counts are of another number.
        """
        known = None if self.classes is None else len(self.classes)
        if known is not None and num_classes != known:
            raise ValueError(
                f'the head has num_classes={num_classes}, but '
                f'frequency_source="{self.source}" has {known} categories'
                f'; make them agree, or name the classes of the data set in '
                f'classes=(...) of the loss')

    def extra_repr(self) -> str:
        """Show the settings in the printed model."""
        return f'source={self.source}, {super().extra_repr()}'
