"""The detections of an image as arrays, and who may use which of them."""
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..annotations.lvis_index import LVISIndex
from ..heads.rle import encode_rows
from .predictions import RawResult

MAX_DETECTIONS = 300
#: Bits of ``ImageResult.uses``.
BBOX, SEGM, PROPOSAL, CHECKED = 1, 2, 4, 8


class Needs(NamedTuple):
    """What the results of an image are wanted for.

    Attributes:
        bbox: Box AP.
        segm: Mask AP.
        fixed: Fixed AP, which ranks every detection of a category.
        proposals: Highest number of proposals of an image; 0 for none.
        file: A submission file, which holds every detection.
    """
    bbox: bool = False
    segm: bool = False
    fixed: bool = False
    proposals: int = 0
    file: bool = False


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The kept detections of one image, n of them, in the model's order.

    Attributes:
        image_id: As in the annotation file.
        size: (height, width) in pixels.
        uses: (n,) uint8: the sum of the bits of the uses a detection has.
        labels: (n,) int64, numbers of the classes of the index.
        boxes: (n, 4) x, y, width, height in pixels.
        scores: (n,) of the boxes.
        mask_scores: (n,) of the masks; equal to ``scores`` in most models.
        rle: The compressed masks one after the other; None without masks.
        rle_lengths: (n,) bytes of each mask, 0 where it is not needed.
    """
    image_id: int
    size: Tuple[int, int]
    uses: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    mask_scores: np.ndarray
    rle: Optional[bytes]
    rle_lengths: np.ndarray

    def same(self, other: 'ImageResult') -> bool:
        """Whether both hold exactly the same detections."""
        return self.rle == other.rle and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ('uses', 'labels', 'boxes', 'scores', 'mask_scores',
                         'rle_lengths'))

    def masks(self) -> List[bytes]:
        """Cut ``rle`` into the n masks."""
        ends = np.cumsum(self.rle_lengths).tolist()
        return [
            self.rle[begin:end] for begin, end in zip([0] + ends[:-1], ends)
        ]


def compact(raw: RawResult, index: LVISIndex, needs: Needs) -> ImageResult:
    """Check, keep what can count by the LVIS protocol, and encode it.

    First the best detections of the image are taken, then those whose
    category is neither annotated nor known to be absent there are dropped:
    the official evaluator does the same, only later.

    Args:
        raw: The detections of one image.
        index: The annotation file.
        needs: What they are wanted for.

    Returns:
        The kept detections.

    Raises:
        ValueError: If the detections would make an evaluation silently
            wrong; see ``check_result``. If masks are wanted and missing.
    """
    check_result(raw, index)
    if needs.segm and raw.masks is None and len(raw.scores):
        raise ValueError(
            f'metric="segm" needs masks, but image {raw.image_id} has none; '
            f'use a model with a mask head, or metric="bbox"')
    checked = np.isin(raw.labels, index.checked[raw.image_id])
    uses = _uses(raw, checked, needs)
    kept = uses > 0
    if needs.fixed or needs.file:
        kept[:] = True
    masked = uses & (SEGM | CHECKED if needs.fixed else SEGM) > 0
    if needs.file:
        masked[:] = True
    size = index.sizes[raw.image_id]
    rle, lengths = None, np.zeros(len(uses), dtype=np.int64)
    if raw.masks is not None and (needs.segm or needs.fixed or needs.file):
        rows = np.flatnonzero(masked)
        counts = encode_rows(raw.masks, rows, size, raw.image_id)
        lengths[rows] = [len(item) for item in counts]
        rle = b''.join(counts)
    return ImageResult(raw.image_id, size, uses[kept], raw.labels[kept],
                       raw.boxes[kept], raw.scores[kept],
                       raw.mask_scores[kept], rle, lengths[kept])


def _uses(raw: RawResult, checked: np.ndarray, needs: Needs) -> np.ndarray:
    uses = np.zeros(len(checked), dtype=np.uint8)
    if needs.bbox:
        uses[_best(raw.scores, MAX_DETECTIONS) & checked] |= BBOX
    if needs.segm:
        uses[_best(raw.mask_scores, MAX_DETECTIONS) & checked] |= SEGM
    if needs.proposals:
        uses[_best(raw.scores, needs.proposals)] |= PROPOSAL
    if needs.fixed:
        uses[checked] |= CHECKED
    return uses


def _best(scores: np.ndarray, number: int) -> np.ndarray:
    """Mark the highest scores; of equal ones the first, as lvis does."""
    mask = np.zeros(len(scores), dtype=bool)
    mask[np.argsort(-scores, kind='stable')[:number]] = True
    return mask


def check_result(raw: RawResult, index: LVISIndex) -> None:
    """Refuse detections that would make an evaluation silently wrong.

    Args:
        raw: The detections of one image.
        index: The annotation file.

    Raises:
        ValueError: If the image is unknown, the numbers of boxes, scores,
            categories and masks differ, or a value is not finite.
    """
    name = f'image {raw.image_id}'
    if raw.image_id not in index.sizes:
        raise ValueError(f'{name} of the predictions is not in '
                         f'"{index.path}"; use the ann_file of the data set')
    counts = {
        field: len(value)
        for field, value in raw._asdict().items()
        if field != 'image_id' and value is not None
    }
    if len(set(counts.values())) > 1:
        raise ValueError(f'{name} must have one score, label and mask for '
                         f'each box, but has {counts}')
    for field in ('boxes', 'scores', 'mask_scores'):
        if not np.isfinite(getattr(raw, field)).all():
            raise ValueError(
                f'{field} of {name} must be finite, but hold NaN or '
                f'infinity; look for the step where the model diverged')
    reversed_boxes = (raw.boxes[:, 2:] < 0).any(axis=1)
    if reversed_boxes.any():
        raise ValueError(f'boxes of {name} must have x2 >= x1 and y2 >= y1, '
                         f'but box {np.argmax(reversed_boxes)} has (width, '
                         f'height) {raw.boxes[reversed_boxes][0, 2:]}')


def merge_results(results: List[ImageResult],
                  padding: int = 0) -> List[ImageResult]:
    """Sort results by image and drop repeated images.

    Distributed samplers repeat a few images so that all processes get the
    same number. The repetition need not be equal to the last bit, because it
    was in another batch: then the first one counts, as in the host.

    Args:
        results: Results of all processes.
        padding: Repetitions that may differ from the first prediction.

    Returns:
        One result an image, by image id.

    Raises:
        ValueError: If an image is predicted twice with different results and
            padding does not explain it.
    """
    merged: Dict[int, ImageResult] = {}
    different = []
    for result in results:
        first = merged.setdefault(result.image_id, result)
        if first is not result and not first.same(result):
            different.append(result.image_id)
    if len(different) > padding:
        raise ValueError(
            f'every image must be predicted once, but image {different[0]} '
            f'has two different predictions ({len(different)} such images); '
            f'check the sampler and do not mix runs')
    return [merged[image_id] for image_id in sorted(merged)]
