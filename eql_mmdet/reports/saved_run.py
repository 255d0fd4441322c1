"""Where a run has left what the page shows: predictions, data, config."""
import os
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from ..datasets.class_config import find_classes
from ..datasets.config_parts import annotation_file, datasets_of
from ..host.saving import find_last_checkpoint

SUFFIXES = ('.pkl', '.pickle', '.json')
#: A folder of the host for one run, such as 20260131_235959.
_TIME = '[0-9]*_[0-9]*'


class SavedRun(NamedTuple):
    """What is known of a run; None where nothing is.

    Attributes:
        predictions: Their file.
        ann: Annotation file of the set that was tested.
        classes: Names in label order; None for the order of ``ann``.
        train: Annotation file of the training set, if it is there.
        images: Folder of the images that were tested.
        config: The config as text.
        config_name: Name of its file.
        pressure: ``category_pressure.csv``.
    """
    predictions: str
    ann: Optional[str] = None
    classes: Optional[Tuple[str, ...]] = None
    train: Optional[str] = None
    images: Optional[str] = None
    config: Optional[str] = None
    config_name: Optional[str] = None
    pressure: Optional[str] = None


def find_run(path: str, load: Callable[[Path], Any]) -> SavedRun:
    """Find the files of a run.

    Args:
        path: Its work folder, or its predictions. Of predictions that lie
            in a work folder the rest is found there.
        load: Reads a config file into a dictionary.

    Returns:
        What was found.

    Raises:
        ValueError: If there are no predictions, or several; it says which
            command makes them.
    """
    given = Path(path)
    if not given.exists():
        raise ValueError(f'expected a work folder or predictions, but there '
                         f'is no "{path}"')
    if given.is_file():
        if given.suffix not in SUFFIXES:
            raise ValueError(f'expected predictions in a .pkl, .pickle or '
                             f'.json file, but got "{path}"')
        folders = [given.parent, given.parent.parent]
        folder = next(filter(_configs, folders), None)
        run = SavedRun(str(given))
        return run if folder is None else _complete(run, folder, load)
    return _complete(SavedRun(_predictions(given)), given, load)


def _configs(folder: Path) -> List[Path]:
    """List the configs of a work folder, the newest last.

    The host writes each run's beside its log, and the last one's into the
    folder. Other folders are left alone: to read a config is to run it.
    """
    parts = sorted(folder.glob(f'{_TIME}/vis_data/config.py'))
    if parts or not any(folder.glob(_TIME)):
        return parts
    return sorted(folder.glob('*.py'), key=os.path.getmtime)


def _predictions(folder: Path) -> str:
    found = sorted(
        str(file) for pattern in ('*.pkl', '*/*.pkl')
        for file in folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f'expected one file of predictions in "{folder}", but there are '
            f'{", ".join(found)}; name the one that you mean instead of the '
            f'folder')
    config = next(iter(sorted(folder.glob('*.py'))), 'CONFIG')
    note = folder / 'last_checkpoint'
    last = note.read_text().strip() if note.is_file() else 'CHECKPOINT'
    raise ValueError(
        f'expected predictions, a .pkl file, in "{folder}", but there are '
        f'none; "tools/test.py {config} {last} --out '
        f'{folder / "predictions.pkl"}" makes them')


def missing_test(path: str) -> Optional[List[str]]:
    """Say how to test what was trained in a folder, if that was not done.

    Args:
        path: A work folder.

    Returns:
        Arguments of tools/test.py; None if there are predictions, or not
        exactly one config and a last checkpoint.
    """
    folder = Path(path)
    configs, checkpoint = sorted(folder.glob('*.py')), _last(folder)
    tested = any(folder.glob('*.pkl')) or any(folder.glob('*/*.pkl'))
    if tested or len(configs) != 1 or checkpoint is None:
        return None
    return [
        str(configs[0]),
        str(checkpoint), '--work-dir', path, '--out',
        str(folder / 'predictions.pkl')
    ]


def _last(folder: Path) -> Optional[Path]:
    """Find the last checkpoint of a training, if it is there."""
    if not (folder / 'last_checkpoint').is_file():
        return None
    found = find_last_checkpoint(str(folder))
    return Path(found) if found and Path(found).is_file() else None


def stale_note(run: SavedRun) -> List[str]:
    """Say if a training went on after its predictions were made.

    Args:
        run: The run.

    Returns:
        A sentence, or nothing.
    """
    predictions = Path(run.predictions)
    last = _last(predictions.parent)
    if last is None or last.stat().st_mtime <= predictions.stat().st_mtime:
        return []
    return [
        f'{predictions} is older than {last}: remove it, and tools/report.py '
        f'tests the newer checkpoint.'
    ]


def _complete(run: SavedRun, folder: Path, load: Callable[[Path],
                                                          Any]) -> SavedRun:
    configs = _configs(folder)
    if not configs:
        return run
    cfg = load(configs[-1])
    names = sorted(folder.glob('*.py'))
    tables = sorted(folder.glob(f'{_TIME}/category_pressure.csv'))
    classes = find_classes(cfg)
    return run._replace(
        ann=_first(cfg, 'test_dataloader', annotation_file),
        images=_first(cfg, 'test_dataloader', _image_folder),
        classes=classes and classes.names,
        train=_first(cfg, 'train_dataloader', annotation_file),
        config=configs[-1].read_text(encoding='utf-8'),
        config_name=names[0].name if len(names) == 1 else configs[-1].name,
        pressure=str(tables[-1]) if tables else None)


def _first(cfg: Any, loader: str, path_of: Callable[[dict],
                                                    str]) -> Optional[str]:
    """Take the path of the first data set of a loader, if it is there."""
    paths = [path_of(dataset) for dataset in datasets_of(cfg, loader)[:1]]
    return paths[0] if paths and os.path.exists(paths[0]) else None


def _image_folder(dataset: dict) -> str:
    prefix = dataset.get('data_prefix') or {}
    prefix = prefix.get('img') or prefix.get('img_path') or ''
    return os.path.join(dataset.get('data_root') or '', prefix)
