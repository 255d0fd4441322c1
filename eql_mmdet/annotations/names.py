"""Names of classes: how they are given, compared and quoted."""
from collections import Counter
from typing import Iterable, Tuple

#: The host corrects a typing error of LVIS v0.5 and v1.
_ALIASES = {'speaker_(stereo_equipment)': 'speaker_(stero_equipment)'}


def canonical(names: Iterable[str]) -> Tuple[str, ...]:
    """Spell names as LVIS does where the host corrects a typing error.

    Args:
        names: Class names.

    Returns:
        The names, for comparison.
    """
    return tuple(_ALIASES.get(name, name) for name in names)


def check_names(classes: Iterable[str]) -> Tuple[str, ...]:
    """Refuse what is not a sequence of different names.

    Args:
        classes: Names in label order.

    Returns:
        The same as a tuple.

    Raises:
        TypeError: If it is a plain string or holds anything but strings.
        ValueError: If it is empty or a name stands twice.
    """
    if isinstance(classes, str):
        raise TypeError(f'classes must be a tuple or list of names, but is '
                        f'the string "{classes}"; write ("{classes}", ) for '
                        f'a single class')
    names = tuple(classes)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f'classes must be names, but are {names[:5]}')
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice or not names:
        raise ValueError(f'classes must be different names, at least one, '
                         f'but {quote(twice) or "there is none"}'
                         f'{" stands twice" if twice else ""}')
    return names


def quote(names: Iterable[str]) -> str:
    """Put names into a sentence."""
    return ', '.join(f'"{name}"' for name in names)
