"""A number of classes that nobody has filled in."""
from typing import Any


def check_num_classes(kwargs: Any) -> None:
    """Refuse a head whose number of classes was left to data that are gone.

    Args:
        kwargs: Arguments of a head.

    Raises:
        ValueError: If ``num_classes`` is None.
    """
    if kwargs.get('num_classes', 0) is None:
        raise ValueError(
            'num_classes=None takes the number of classes from the training '
            'annotations, but there were none when the config was read; use '
            'the config that training has written into its work_dir, or name '
            'the classes in metainfo=dict(classes=(...)) of the data sets')
