"""From the files of a run to the page about it."""
import platform
from importlib import metadata
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ..annotations.category_counts import class_names, load_counts
from ..annotations.findings import list_findings
from ..annotations.lvis_index import LVISIndex, load_index
from ..annotations.training import evaluation_findings
from ..evaluation import protocol
from ..evaluation.predictions import RawResult, read_predictions
from ..evaluation.results import ImageResult, compact, merge_results
from ..version import __version__
from .comparison import compare_results
from .image_pairs import choose_images, find_image, make_panel
from .measures import Evaluated, Progress, Resampling, Row, diagnose, evaluate
from .page import Picture, Report, render
from .pictures import draw_pair
from .pressure_table import read_pressure
from .saved_run import SavedRun

PACKAGES = ('torch', 'numpy', 'mmengine', 'mmdet', 'onedl-mmengine',
            'onedl-mmdetection', 'hotcoco', 'matplotlib')


class Options(NamedTuple):
    """What a page is made with.

    Attributes:
        metric: ``'bbox'`` or ``'segm'``; None for all that there is.
        score_thr: Detections below it are in no confusion and no picture.
        pictures: Worst and best images to show, of each.
        resampling: Of the intervals.
    """
    metric: Optional[str] = None
    score_thr: float = 0.3
    pictures: int = 8
    resampling: Resampling = Resampling()


def page_of(run: SavedRun,
            title: str,
            options: Options = Options(),
            baseline: Optional[SavedRun] = None,
            tell: Callable[[str], None] = lambda line: None,
            progress: Progress = iter) -> str:
    """Read a run, ask hotcoco, draw, and write the page.

    Args:
        run: The run.
        title: Of the page.
        options: What it is made with.
        baseline: Another run on the same set.
        tell: Is told what takes long.
        progress: Wraps the list of categories to show how far it is.

    Returns:
        The page.

    Raises:
        ValueError: If an option is out of range, the annotation file is not
            known, or something does not fit it.
    """
    _check(options, run)
    index = load_index(run.ann, run.classes)
    runs = [read_predictions(run.predictions, index)]
    if baseline is not None:
        runs.append(read_predictions(baseline.predictions, index))
    kinds = _kinds(options.metric, runs)
    results, *others = (_results(raw, index, kinds) for raw in runs)
    notes = _notes(index, results)
    counts = _training_images(run.train, index)
    evaluated = {}
    for kind in kinds:
        tell(f'{kind} AP, and intervals by {options.resampling.samples} '
             f'resampled sets of {len(index.sizes)} images')
        evaluated[kind] = _counted(
            evaluate(results, index, kind, options.resampling, progress),
            counts)
    diagnosis = diagnose(evaluated[kind], index, kind, options.score_thr)
    tell('pictures')
    pictures, note = _pictures(run, runs[0], index, diagnosis.images, options)
    comparison = None
    if others:
        tell('differences from the baseline')
        comparison = compare_results((others[0], results),
                                     index,
                                     kind,
                                     *options.resampling,
                                     progress=progress)
    return render(
        Report(
            title=title,
            iou_type=kind,
            evaluated=evaluated,
            diagnosis=diagnosis,
            score_thr=options.score_thr,
            pictures=pictures,
            notes=notes + note,
            facts=_facts(run, options, baseline),
            pressure=run.pressure and read_pressure(run.pressure),
            comparison=comparison,
            config=run.config or ''), index)


def _check(options: Options, run: SavedRun) -> None:
    if not 0 <= options.score_thr <= 1 or options.pictures < 0:
        raise ValueError(f'expected a score threshold in [0, 1] and at least '
                         f'0 pictures, but got {options.score_thr} and '
                         f'{options.pictures}')
    if run.ann is None:
        raise ValueError(
            f'expected the annotation file of the set that was tested, but '
            f'no config beside {run.predictions} names one that is here; '
            f'give it after the run: tools/report.py RUN ANN')


def _kinds(metric: Optional[str],
           runs: Sequence[List[RawResult]]) -> List[str]:
    """The last one is what the page is about."""
    if metric:
        return [metric]
    masks = all(any(r.masks is not None for r in run) for run in runs)
    return ['bbox', 'segm'][:1 + masks]


def _results(raw: List[RawResult], index: LVISIndex,
             kinds: Sequence[str]) -> List[ImageResult]:
    needs = protocol.needs_of(kinds, (), index)
    return merge_results([compact(item, index, needs) for item in raw])


def _notes(index: LVISIndex, results: List[ImageResult]) -> List[str]:
    found = index.annotations
    notes = list(
        list_findings(found.path, found.findings + evaluation_findings(found)))
    missing = len(index.sizes) - len(results)
    if missing:
        notes.append(f'{missing} of {len(index.sizes)} images have no '
                     f'predictions and count as images without detections.')
    return notes


def _training_images(source: Optional[str],
                     index: LVISIndex) -> Dict[str, int]:
    """Category name -> training images, where another file counts them."""
    if source is None:
        return {}
    known = set(class_names(source))
    names = [name for name in index.names if name in known]
    if not names:
        raise ValueError(
            f'expected "{source}" to have categories of "{index.path}" by '
            f'name, but it has none of {", ".join(index.names[:5])}; give '
            f'the training set with --train')
    counts = load_counts(source, names)
    return dict(zip(names, counts.image_count.tolist()))


def _counted(found: Evaluated, counts: Dict[str, int]) -> Evaluated:
    rows: List[Row] = [
        dict(row, image_count=counts.get(row['name'], row['image_count']))
        for row in found.categories
    ]
    return found._replace(categories=rows)


def _pictures(run: SavedRun, raw: List[RawResult], index: LVISIndex,
              rows: List[Row], options: Options) -> tuple:
    """Draw the worst and best images; or say why there are none."""
    if not options.pictures:
        return [], []
    if run.images is None:
        return [], [
            'There are no pictures: give the folder of the images '
            'with --images.'
        ]
    names = {image.id: image.file_name for image in index.annotations.images}
    by_id = {item.image_id: item for item in reversed(raw)}
    pictures, missing = [], []
    chosen = choose_images(rows, options.pictures)
    for kind, members in chosen._asdict().items():
        for row in members:
            image_id = row['image_id']
            path = find_image(run.images, names[image_id])
            if path is None:
                missing.append(names[image_id] or f'image {image_id}')
                continue
            panel = make_panel(path, by_id.get(image_id), index, image_id,
                               options.score_thr)
            pictures.append(
                Picture(kind, names[image_id], row, *draw_pair(panel)))
    if missing:
        return pictures, [
            f'{len(missing)} of {len(missing) + len(pictures)} images to be '
            f'shown are not in "{run.images}" (first: {missing[0]}); give '
            f'their folder with --images.'
        ]
    return pictures, []


def _facts(run: SavedRun, options: Options,
           baseline: Optional[SavedRun]) -> List[tuple]:
    facts = [('predictions', run.predictions), ('annotations', run.ann)]
    facts += [(name, value)
              for name, value in (('training images from',
                                   run.train), ('images', run.images),
                                  ('config', run.config_name), ('gradients',
                                                                run.pressure),
                                  ('baseline',
                                   baseline and baseline.predictions))
              if value]
    facts.append(('intervals', f'95 %, {options.resampling.samples} resampled '
                  f'sets of images, seed {options.resampling.seed}'))
    facts += [('eql_mmdet', __version__),
              ('python', platform.python_version())]
    for package in PACKAGES:
        try:
            facts.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return facts


def name_of(path: str) -> str:
    """Name a run after its folder, or its file of predictions."""
    return Path(path).resolve().stem if Path(path).is_file() else Path(
        path).resolve().name
