"""The page about a run: one HTML file with everything inside."""
import base64
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..annotations.lvis_index import LVISIndex
from ..evaluation.per_category import GROUP_NAMES
from . import charts
from .comparison import Comparison
from .measures import Diagnosis, Evaluated
from .pressure_table import PressureSum

Row = Dict[str, Any]
PAIRS = 50
CONFUSIONS = 3
KINDS = dict(bbox='box', segm='mask')


class Picture(NamedTuple):
    """One image of the page.

    Attributes:
        kind: ``'worst'`` or ``'best'``.
        name: File name of the image.
        row: Its ``f1``, ``tp``, ``fp`` and ``fn``.
        truth: JPEG of the ground truth.
        found: JPEG of the predictions, of the same size.
    """
    kind: str
    name: str
    row: Row
    truth: bytes
    found: bytes


class Report(NamedTuple):
    """What the page shows.

    Attributes:
        title: Of the page.
        iou_type: What all but the metrics is about, a key of ``evaluated``.
        evaluated: ``'bbox'``, ``'segm'`` or both.
        diagnosis: Of ``iou_type``.
        score_thr: Of confusions and pictures.
        pictures: Worst and best images.
        notes: Sentences on what is not there, and why.
        facts: Names and values: files, versions.
        pressure: Category name -> gradient, if it was recorded.
        comparison: Differences from another run, if there is one.
        config: The config as text, if it is known.
    """
    title: str
    iou_type: str
    evaluated: Dict[str, Evaluated]
    diagnosis: Diagnosis
    score_thr: float
    pictures: Sequence[Picture]
    notes: Sequence[str]
    facts: Sequence[Tuple[str, str]]
    pressure: Optional[Dict[str, PressureSum]] = None
    comparison: Optional[Comparison] = None
    config: str = ''


def render(report: Report, index: LVISIndex) -> str:
    """Write the page.

    Args:
        report: What it shows.
        index: The annotation file.

    Returns:
        HTML that needs no other file and no network.
    """
    rows = category_table(report)
    environment = Environment(
        loader=PackageLoader('eql_mmdet.reports', 'template'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True)
    environment.filters.update(percent=percent, signed=signed, base64=_base64)
    table = dict(
        columns=_columns(report),
        rows=[[row[key] for key, *_ in _columns(report)] for row in rows])
    return environment.get_template('report.html').render(
        report=report,
        kinds=KINDS,
        errors=charts.ERRORS,
        charts=_charts(report, rows),
        table=table,
        images=len(index.sizes),
        objects=sum(row['objects'] for row in rows),
        pairs=_pairs(report, rows),
        num_pairs=len(report.diagnosis.confusions.pairs),
        pressure=pressure_rows(report, rows))


def percent(fraction: Optional[float]) -> str:
    """Write a fraction in percent; a dash for what is unknown."""
    if fraction is None or fraction < 0 or math.isnan(fraction):
        return '–'
    return f'{100 * fraction:.1f}'


def signed(fraction: float) -> str:
    """Write a difference of fractions in points, with its sign."""
    return f'{100 * fraction:+.1f}'.replace('-', '−')


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def category_table(report: Report) -> List[Row]:
    """Put all that is known of each category into one row, in percent.

    Args:
        report: What the page shows.

    Returns:
        The rows, by category id.
    """
    confusions = report.diagnosis.confusions
    taken = {}
    for pair in confusions.pairs:
        taken.setdefault(pair.truth, []).append(pair)
    found = report.evaluated[report.iou_type].categories
    differences = {
        row['id']: row
        for row in (report.comparison or Comparison([], [])).categories
    }
    return [
        dict(
            _known(row),
            right=_points(confusions.right[k]),
            missed=_points(confusions.missed[k]),
            taken_for=', '.join(f'{found[pair.found]["name"]} {pair.count}'
                                for pair in taken.get(k, [])[:CONFUSIONS]),
            pressure=_ratio((report.pressure or {}).get(row['name'])),
            **_change(differences.get(row['id'], {})))
        for k, row in enumerate(found)
    ]


def _known(row: Row) -> Row:
    return dict(
        name=row['name'],
        frequency=row['frequency'],
        group=GROUP_NAMES[row['frequency']],
        image_count=row['image_count'],
        objects=row['ground_truths'],
        AP=_points(row['AP']),
        interval=_interval(row['low'], row['high']),
        AR=_points(row['AR']))


def _change(row: Row) -> Row:
    """What changed; unknown without a baseline, or without objects."""
    return dict(
        before=_points(row.get('AP_a')),
        difference=_points(row.get('difference')),
        change=_interval(row.get('low'), row.get('high'), sign=True))


def _points(fraction: Optional[float]) -> Optional[float]:
    if fraction is None or math.isnan(fraction):
        return None
    return round(100 * float(fraction), 1)


def _interval(low: Optional[float],
              high: Optional[float],
              sign: bool = False) -> str:
    if low is None:
        return ''
    write = signed if sign else percent
    return f'{write(low)} to {write(high)}'


def _ratio(gradient: Optional[PressureSum]) -> Optional[float]:
    """How many times as much lowers a score as raises it."""
    if gradient is None or gradient.up <= 0:
        return None
    down = gradient.down_foreground + gradient.down_background
    return float(f'{down / gradient.up:.3g}')


def _columns(report: Report) -> List[Tuple[str, str, str]]:
    """(key, heading, kind) of the table's columns."""
    after_ap = [('interval', '95 % interval', 'interval')]
    if report.comparison:
        after_ap = [('before', 'AP of baseline', 'percent'),
                    ('difference', 'difference', 'percent'),
                    ('change', '95 % interval', 'interval')]
    columns = [('name', 'category', 'text'), ('AP', 'AP', 'percent'),
               *after_ap, ('image_count', 'training images', 'count'),
               ('objects', 'objects', 'count'), ('group', 'group', 'text'),
               ('AR', 'AR', 'percent'), ('right', 'right, %', 'percent'),
               ('missed', 'missed, %', 'percent')]
    if report.pressure:
        columns.append(('pressure', 'down / up', 'ratio'))
    columns.append(('taken_for', 'taken for', 'text'))
    return columns


def _charts(report: Report, rows: List[Row]) -> Dict[str, str]:
    drawn = dict(
        images=charts.scatter(rows, 'AP', 'AP, %', ylim=(-2, 102)),
        errors=charts.error_bars(report.diagnosis.errors),
        calibration=charts.reliability(report.diagnosis.calibration),
        differences='',
        pressure='')
    if report.comparison:
        drawn['differences'] = charts.scatter(rows, 'difference',
                                              'difference of AP, points')
    if report.pressure:
        drawn['pressure'] = charts.scatter(
            rows, 'pressure', 'gradient down / up', yscale='log')
    return drawn


def _pairs(report: Report, rows: List[Row]) -> List[Row]:
    return [
        dict(
            truth=rows[pair.truth]['name'],
            found=rows[pair.found]['name'],
            count=pair.count,
            share=pair.share)
        for pair in report.diagnosis.confusions.pairs[:PAIRS]
    ]


def pressure_rows(report: Report, rows: Sequence[Row]) -> List[Row]:
    """Add up the gradient by group.

    Args:
        report: What the page shows.
        rows: Of :func:`category_table`.

    Returns:
        A row a group: ``name``, ``up``, ``down_foreground`` and
        ``down_background``, the sums as shares of all three.
    """
    if not report.pressure:
        return []
    found = []
    for letter, name in GROUP_NAMES.items():
        sums = [
            sum(values)
            for values in zip(*(report.pressure[row['name']] for row in rows
                                if row['frequency'] == letter
                                and row['name'] in report.pressure))
        ]
        if sum(sums) > 0:
            shares = [value / sum(sums) for value in sums]
            found.append(
                dict(zip(('name', *PressureSum._fields), (name, *shares))))
    return found
