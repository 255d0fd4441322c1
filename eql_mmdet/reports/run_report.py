"""From the files of a run to the page about it."""
import platform
from importlib import metadata
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ..annotations.category_counts import class_names, load_counts
from ..annotations.exhaustive import coco_note, load_any_index
from ..annotations.findings import list_findings
from ..annotations.lvis_index import LVISIndex
from ..annotations.reader import read_annotations
from ..annotations.training import evaluation_findings
from ..evaluation import protocol
from ..evaluation.predictions import RawResult, read_predictions
from ..evaluation.results import ImageResult, compact, merge_results
from ..version import __version__
from .comparison import compare_results
from .image_pairs import choose_images, find_image, make_panel
from .measures import Evaluated, Resampling, Row, diagnose, evaluate
from .page import Picture, Report, render
from .pictures import draw_pair
from .pressure_table import read_pressure
from .saved_run import SavedRun, stale_note

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
            tell: Callable[[str], None] = lambda line: None) -> str:
    """Read a run, ask hotcoco, draw, and write the page.

    Args:
        run: The run.
        title: Of the page.
        options: What it is made with.
        baseline: Another run on the same set.
        tell: Is told what takes long.

    Returns:
        The page.

    Raises:
        ValueError: If an option is out of range, the annotation file is not
            known, or something does not fit it.
    """
    files = [run] if baseline is None else [run, baseline]
    _check(options, files)
    counts = _training_images(run)
    index = load_any_index(run.ann, run.classes, counts or None)
    raw = [read_predictions(file.predictions, index) for file in files]
    kinds = _kinds(options.metric, raw, files, index)
    results, *others = (_results(items, index, kinds) for items in raw)
    tell(f'intervals of {" and ".join(kinds)} AP by '
         f'{options.resampling.samples} resampled sets')
    evaluated = _evaluate(results, index, counts, kinds, options)
    kind = kinds[-1]
    diagnosis = diagnose(evaluated[kind], index, kind, options.score_thr)
    tell('pictures')
    pictures, notes = _pictures(run, raw[0], index, diagnosis.images, options)
    comparison = None
    if others:
        tell('differences from the baseline')
        comparison = compare_results((others[0], results), index, kind,
                                     *options.resampling)
    return render(
        Report(
            title=title,
            iou_type=kind,
            evaluated=evaluated,
            diagnosis=diagnosis,
            score_thr=options.score_thr,
            pictures=pictures,
            notes=stale_note(run) + coco_note(run.ann, run.train) +
            _notes(index, results) + notes,
            facts=_facts(run, options, baseline),
            pressure=run.pressure and read_pressure(run.pressure),
            comparison=comparison,
            config=run.config or ''), index)


def _check(options: Options, files: Sequence[SavedRun]) -> None:
    if not 0 <= options.score_thr <= 1 or options.pictures < 0:
        raise ValueError(f'expected a score threshold in [0, 1] and at least '
                         f'0 pictures, but got {options.score_thr} and '
                         f'{options.pictures}')
    if files[0].ann is None:
        raise ValueError(
            f'expected the annotation file of the set that was tested, but '
            f'no config beside {files[0].predictions} names one that is '
            f'here; give it after the run: tools/report.py RUN ANN')
    classes = {tuple(file.classes) for file in files if file.classes}
    if len(classes) > 1:
        raise ValueError(
            f'expected two runs with the same classes in the same order, but '
            f'those of {files[0].predictions} and {files[1].predictions} '
            f'differ; make a page of each')


def _kinds(metric: Optional[str], raw: Sequence[List[RawResult]],
           files: Sequence[SavedRun], index: LVISIndex) -> List[str]:
    """What to compare; the last one is what the page is about."""
    without = [
        file.predictions for file, items in zip(files, raw)
        if all(item.masks is None for item in items)
    ]
    if metric == 'segm' and without:
        raise ValueError(f'metric="segm" compares masks, but '
                         f'"{without[0]}" has none; take metric="bbox"')
    if metric:
        return [metric]
    return ['bbox'
            ] if without or index.first_without_mask else ['bbox', 'segm']


def _evaluate(results: List[ImageResult], index: LVISIndex, counts: Dict[str,
                                                                         int],
              kinds: Sequence[str], options: Options) -> Dict[str, Evaluated]:
    return {
        kind:
        _counted(evaluate(results, index, kind, options.resampling), counts)
        for kind in kinds
    }


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


def _training_images(run: SavedRun) -> Dict[str, int]:
    """Category name -> training images, where another file counts them."""
    if run.train is None:
        return {}
    known = set(class_names(run.train))
    tested = run.classes or read_annotations(run.ann).names
    names = [name for name in tested if name in known]
    if not names:
        raise ValueError(
            f'expected "{run.train}" to have categories of "{run.ann}" by '
            f'name, but it has none of {", ".join(tested[:5])}; give the '
            f'training set with --train')
    counts = load_counts(run.train, names)
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
            'There are no pictures: give the folder of the images with '
            '--images.'
        ]
    names = {image.id: image.file_name for image in index.annotations.images}
    by_id = {item.image_id: item for item in reversed(raw)}
    pictures, missing = [], []
    chosen = choose_images(rows, options.pictures)
    for kind, row in [(kind, row) for kind, rows in chosen._asdict().items()
                      for row in rows]:
        image_id = row['image_id']
        path = find_image(run.images, names[image_id])
        if path is None:
            missing.append(names[image_id] or f'image {image_id}')
            continue
        panel = make_panel(path, by_id.get(image_id), index, image_id,
                           options.score_thr)
        pictures.append(Picture(kind, names[image_id], row, *draw_pair(panel)))
    notes = [
        f'{len(missing)} of {len(missing) + len(pictures)} images to be '
        f'shown are not in "{run.images}" (first: {missing[0]}); give their '
        f'folder with --images.'
    ] if missing else []
    return pictures, notes


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
