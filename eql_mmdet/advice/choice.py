"""Which remedy for which data: docs/which.md as a function."""
from typing import List, NamedTuple

from ..annotations.category_counts import frequency_group
from .methods import Method
from .survey import Survey, imbalance

#: Below it a set is taken to have no long tail. Not measured: the set of
#: docs/which.md has 1,005.
BALANCED = 10
#: Detections of an image that count, in LVIS and in COCO.
DETECTIONS = dict(federated=300, exhaustive=100)
#: No remedy gained so much APf over plain softmax, in points.
LEAST_GAIN = 1
#: (federated, fewer detections than categories) -> AP and APr in percent of
#: class weights and of plain softmax, 3,000 steps, as in docs/which.md.
FIGURES = {
    (True, False): ('41.6', '26.4', '32.6', '5.3'),
    (True, True): ('38.6', '21.2', '27.4', '0.6'),
    (False, False): ('36.1', '19.4', '28.4', '3.2'),
    (False, True): ('34.9', '17.4', '25.3', '0.5'),
}


class Situation(NamedTuple):
    """What the choice depends on.

    Attributes:
        federated: Whether only checked categories count in an image, as in
            LVIS; else all do, as in COCO.
        num_classes: Number of categories.
        detections: Of an image that count.
        imbalance: Images of the most frequent category by the fewest.
        rare: Categories of up to 10 training images.
        common: Of up to 100.
    """
    federated: bool
    num_classes: int
    detections: int
    imbalance: float
    rare: int
    common: int

    @property
    def binds(self) -> bool:
        """Whether an image has fewer detections than categories."""
        return self.num_classes > self.detections


class Choice(NamedTuple):
    """A remedy, and why.

    Attributes:
        method: The remedy.
        reasons: Lines of a comment.
    """
    method: Method
    reasons: List[str]


def situation_of(found: Survey) -> Situation:
    """Say what of a data set decides.

    Args:
        found: What the files are.

    Returns:
        The situation.
    """
    groups = list(map(frequency_group, found.counts.image_count.tolist()))
    federated = found.val.is_lvis
    return Situation(federated, len(found.counts.ids),
                     DETECTIONS['federated' if federated else 'exhaustive'],
                     imbalance(found.counts), groups.count('r'),
                     groups.count('c'))


def choose(situation: Situation) -> Choice:
    """Choose a remedy.

    Args:
        situation: What decides.

    Returns:
        The remedy of the row of docs/which.md that fits, and why.
    """
    if not situation.rare + situation.common:
        return _plain('No category has 100 training images or fewer.')
    if situation.imbalance < BALANCED:
        return _plain(f'The most frequent category has only '
                      f'{situation.imbalance:.3g} times the images of the '
                      f'rarest.')
    ap, ap_rare, plain, plain_rare = FIGURES[situation.federated,
                                             situation.binds]
    protocol = 'Federated' if situation.federated else 'Exhaustive'
    room = (f'fewer detections of an image ({situation.detections}) than '
            f'categories ({situation.num_classes})' if situation.binds else
            f'room for all {situation.num_classes} categories in '
            f'{situation.detections} detections')
    reasons = [
        f'{protocol} annotation, {room}: in docs/which.md box AP {ap}, APr '
        f'{ap_rare},',
        f'against {plain} and {plain_rare} of plain softmax. Imbalance '
        f'{situation.imbalance:.0f}; rare categories (up to 10 images): '
        f'{situation.rare}.'
    ]
    return Choice(Method('class_weights'), reasons)


def _plain(reason: str) -> Choice:
    return Choice(
        Method('softmax'), [
            f'{reason} There is no long tail, and for frequent categories no '
            f'remedy', f'gained {LEAST_GAIN} AP in docs/which.md.'
        ])
