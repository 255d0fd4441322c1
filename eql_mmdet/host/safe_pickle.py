"""Pickles that are read without running code that may be in them."""
import io
import pickle
import reprlib
from typing import Any, Dict, List, Tuple

import numpy as np
import torch

# numpy 1.26 has an incomplete numpy._core as well.
_NUMPY_CORE = 'numpy.core' if np.__version__ < '2' else 'numpy._core'


class SafeUnpickler(pickle.Unpickler):
    """An unpickler that knows plain containers and numpy arrays.

    A pickle is a program: each name in it may be called. Here only the names
    in ``ALLOWED`` can be looked up, under what numpy 1 or numpy 2 calls them.

    Raises:
        UnpicklingError: If the pickle names anything else; the message has
            the name.
    """

    ALLOWED: Dict[str, Tuple[str, ...]] = {
        'collections': ('OrderedDict', ),
        'numpy': ('dtype', 'ndarray'),
        'numpy.core.multiarray': ('_reconstruct', 'scalar'),
        'numpy.core.numeric': ('_frombuffer', ),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up; refuse all that is not allowed."""
        if (module, name) == ('_codecs', 'encode'):
            return latin1_bytes
        known_as = module.replace('numpy._core', 'numpy.core')
        if name not in self.ALLOWED.get(known_as, ()):
            raise pickle.UnpicklingError(f'it holds {module}.{name}')
        return super().find_class(
            known_as.replace('numpy.core', _NUMPY_CORE), name)


def latin1_bytes(text: str, encoding: str) -> bytes:
    """Stand in for ``codecs.encode``: how protocol 2 spells bytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it holds bytes encoded as {encoding}')
    return text.encode('latin1')


def read_pickle(path: str) -> Any:
    """Read a file of numpy arrays in plain containers.

    Args:
        path: A pickle of any protocol, of Python 2 as well.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not whole or names anything but arrays and
            containers, which could run code.
    """
    with open(path, 'rb') as file:
        try:
            return SafeUnpickler(file, encoding='latin1').load()
        except Exception as error:  # A damaged pickle can raise anything.
            raise ValueError(
                f'expected numpy arrays in plain containers, but "{path}" is '
                f'damaged or could run code when loaded: '
                f'{error or type(error).__name__}') from error


class SampleUnpickler(SafeUnpickler):
    """An unpickler that knows what ``tools/test.py --out`` writes."""

    ALLOWED = {
        **SafeUnpickler.ALLOWED,
        'builtins':
        ('bytearray', 'complex', 'range', 'set', 'frozenset', 'slice'),
        'torch':
        ('Size', 'device', 'float16', 'float32', 'float64', 'bfloat16', 'int8',
         'int16', 'int32', 'int64', 'uint8', 'bool'),
        'torch._utils': ('_rebuild_tensor_v2', ),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up; refuse what predictions do not hold."""
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            # The original loads a second pickle, unsafely.
            return _load_storage
        return super().find_class(module, name)


def _load_storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)


def load_samples(path: str) -> List[dict]:
    """Read the file of ``tools/test.py --out``.

    Args:
        path: A pickled list of data samples as dicts.

    Returns:
        The data samples.

    Raises:
        ValueError: If the file is not whole, or holds anything but tensors,
            arrays and builtins, which could run code when loaded.
    """
    with open(path, 'rb') as file:
        try:
            samples = SampleUnpickler(file).load()
        except Exception as error:  # A damaged pickle can raise anything.
            raise ValueError(
                f'"{path}" is damaged or not the file of "tools/test.py '
                f'--out": {error or type(error).__name__}; write it '
                f'again') from error
    if not isinstance(samples, list) or not all(
            isinstance(item, dict) and 'img_id' in item for item in samples):
        raise ValueError(f'expected a list of data samples with "img_id", '
                         f'but "{path}" holds {reprlib.repr(samples):.80}')
    return samples
