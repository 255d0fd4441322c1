"""Safe loading for torch before 2.6.

There ``weights_only=True`` cannot be taught all types that a training writes,
and has a hole (CVE-2025-32434).
"""
import pickle
import zipfile
from types import ModuleType
from typing import IO, Any, Dict, Union

import torch
from torch import _weights_only_unpickler

from .safe_pickle import latin1_bytes


def load_with_names(file: Union[str, IO], map_location: Any,
                    names: Dict[str, Any]) -> Any:
    """Read what ``torch.save`` wrote; refuse names that are not known.

    Args:
        file: Path or open file.
        map_location: As in ``torch.load``.
        names: Name in a file -> what it stands for, besides tensors.

    Returns:
        What the file holds.

    Raises:
        UnpicklingError: If the file holds another name, or is TorchScript.
    """
    known = {
        **_weights_only_unpickler._get_allowed_globals(),
        **names, '_codecs.encode': latin1_bytes
    }

    class Unpickler(pickle.Unpickler):

        def find_class(self, module: str, name: str) -> Any:
            """Look a name up; refuse all that is not known."""
            # Protocol 2, torch's, has the names of Python 2.
            module = module.replace('__builtin__', 'builtins')
            try:
                return known[f'{module}.{name}']
            except KeyError:
                raise pickle.UnpicklingError(
                    f'it holds GLOBAL {module}.{name}') from None

    safe = ModuleType('safe_pickle')
    safe.Unpickler = Unpickler
    safe.load = lambda opened, **kwargs: Unpickler(opened, **kwargs).load()
    _refuse_scripts(file)
    return torch.load(
        file,
        map_location=map_location,
        pickle_module=safe,
        weights_only=False)


def _refuse_scripts(file: Union[str, IO]) -> None:
    """Refuse a program of TorchScript, which ``torch.load`` would start."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(n.endswith('constants.pkl') for n in archive.namelist()):
                raise pickle.UnpicklingError('it is TorchScript')
    if hasattr(file, 'seek'):
        file.seek(0)
