"""What can be done against a long tail, by name, and as lines of a config."""
from typing import Dict, List, NamedTuple

from ..annotations.category_counts import CategoryCounts
from ..rarity.tail import choose_tail

#: Largest tail ratio that the paper of EQL recommends.
TAIL_RATIO = 0.1
#: Categories with fewer training images are shown more often, by repeat
#: factors: 5e-4 of LVIS v0.5 are 28 images.
REPEATED_BELOW = 30
#: Loss -> what it is, for a comment.
LOSSES = dict(
    softmax='softmax cross-entropy, the loss of MMDetection',
    sigmoid='sigmoid cross-entropy for each category',
    eql='Equalization Loss',
    eqlv2='Equalization Loss v2, balanced by the gradients so far',
    fedloss='federated loss: sigmoids of some categories at a time',
    balanced_softmax='balanced softmax, with the counts in the logits',
    class_weights='softmax cross-entropy that weighs rare categories more',
    seesaw='Seesaw loss')
#: Sampler -> what it does.
SAMPLERS = dict(
    plain='every image once an epoch',
    rfs='repeat factors: images of rare categories more often',
    cas='class-aware: a category first, then an image of it')
#: Calibration -> what it is, and its settings with the numbers of the papers.
CALIBRATIONS: Dict[str, tuple] = dict(
    none=('', ''),
    norcal=('NorCal', "type='norcal', gamma=0.6"),
    logit_adjustment=('logit adjustment', "type='logit_adjustment', tau=1.0"),
    fracal=('FRACAL', "type='fracal'"))
#: Losses whose scores a calibration may change.
_CALIBRATED = ('softmax', 'class_weights')


class Method(NamedTuple):
    """A remedy.

    Attributes:
        loss: Of ``LOSSES``.
        sampler: Of ``SAMPLERS``.
        calibration: Of ``CALIBRATIONS``.
    """
    loss: str = 'softmax'
    sampler: str = 'plain'
    calibration: str = 'none'

    def __str__(self) -> str:
        return '+'.join(
            (self.loss, *(part for part in (self.sampler, self.calibration)
                          if part not in ('plain', 'none'))))


def parse_method(text: str) -> Method:
    """Read a remedy from its name.

    Args:
        text: A loss, and what it is combined with: ``'eql+rfs'``.

    Returns:
        The remedy.

    Raises:
        ValueError: If a part is unknown or there are two of a kind, or a
            calibration stands with a loss without softmax.
    """
    found: Dict[str, str] = {}
    kinds = dict(loss=LOSSES, sampler=SAMPLERS, calibration=CALIBRATIONS)
    for part in text.split('+'):
        kind = next((k for k, names in kinds.items() if part in names), None)
        if kind is None or kind in found:
            raise ValueError(
                f'expected a loss ({", ".join(LOSSES)}), and with "+" a '
                f'sampler ({", ".join(SAMPLERS)}) or a calibration '
                f'({", ".join(list(CALIBRATIONS)[1:])}), such as "eql+rfs", '
                f'but got "{text}"')
        found[kind] = part
    method = Method(**found)
    if method.calibration != 'none' and method.loss not in _CALIBRATED:
        raise ValueError(f'expected a calibration with one of {_CALIBRATED}, '
                         f'but got "{text}"')
    return method


def describe(method: Method) -> str:
    """Put a remedy into words.

    Args:
        method: The remedy.

    Returns:
        Half a sentence.
    """
    words = f'{LOSSES[method.loss]}; {SAMPLERS[method.sampler]}'
    name, _ = CALIBRATIONS[method.calibration]
    return f'{words}; {name} at test time' if name else words


def loss_settings(method: Method, counts: CategoryCounts) -> str:
    """Write the settings of the loss.

    Args:
        method: The remedy.
        counts: Of the training set.

    Returns:
        Arguments of a ``dict``; empty for the loss of MMDetection.

    Raises:
        ValueError: If the loss has nothing to do on such counts.
    """
    source = 'frequency_source=None'
    if method.loss == 'eql':
        return (f"type='EqualizationLoss', {source}, "
                f'tail_ratio={_tail_ratio(counts)}')
    if method.loss == 'fedloss':
        return f"type='FederatedLoss', {source}, num_sampled={_drawn(counts)}"
    return dict(
        softmax='',
        sigmoid=f"type='EqualizationLoss', {source}, frequency_threshold=0",
        eqlv2="type='EqualizationLossV2'",
        balanced_softmax=f"type='BalancedSoftmaxLoss', {source}",
        class_weights=f"type='ClassWeightedLoss', {source}, power=0.5",
        seesaw="type='SyncSeesawLoss'")[method.loss]


def _tail_ratio(counts: CategoryCounts) -> float:
    try:
        choose_tail(counts, target_ratio=TAIL_RATIO)
    except ValueError as error:
        raise ValueError(
            f'Equalization Loss would protect no category of {counts.source}: '
            f'the rarest make up more than {TAIL_RATIO:.0%} of all image '
            f'counts; choose another method') from error
    return TAIL_RATIO


def _drawn(counts: CategoryCounts) -> int:
    """As many as were published, or two thirds of the categories."""
    return min(50, max(1, 2 * len(counts.ids) // 3))


def sampler_settings(method: Method, counts: CategoryCounts) -> str:
    """Write the settings of the sampler.

    Args:
        method: The remedy.
        counts: Of the training set.

    Returns:
        Arguments of a ``dict``.

    Raises:
        ValueError: If the sampler would do nothing on such counts.
    """
    if method.sampler == 'cas':
        return "type='ClassAwareSampler', num_sample_class=1"
    if method.sampler == 'plain':
        return "type='DefaultSampler', shuffle=True"
    there = counts.image_count[counts.image_count > 0]
    least = int(there.min())
    if least >= REPEATED_BELOW:
        raise ValueError(
            f'repeat factors would repeat nothing: every category of '
            f'{counts.source} has at least {least} images, and only those '
            f'with fewer than {REPEATED_BELOW} are repeated; choose another '
            f'method')
    threshold = min(1, REPEATED_BELOW / counts.num_images)
    return (f"type='RepeatFactorSampler', "
            f'repeat_threshold={float(f"{threshold:.2g}")}')


def sampler_comment(method: Method, counts: CategoryCounts) -> List[str]:
    """Explain the settings of the sampler.

    Args:
        method: The remedy.
        counts: Of the training set.

    Returns:
        Lines of a comment.
    """
    if method.sampler != 'rfs':
        return []  # its name says it
    return [
        f'Images of categories that fewer than about {REPEATED_BELOW} of '
        f'{counts.num_images} images have are shown more often.'
    ]
