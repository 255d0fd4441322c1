"""Finished runs of the host: their last metrics, side by side."""
import json
import math
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

KINDS = dict(bbox='box', segm='mask')
COLUMNS = ('AP', 'APr', 'APc', 'APf')
#: What must be the same in all runs that are averaged.
DECISIVE = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper',
            'param_scheduler')


class Run(NamedTuple):
    """A finished run.

    Attributes:
        config: Name of the config file, without ``.py``.
        seed: Seed of the training, None if the folder holds tests only.
        values: ``{bbox,segm}_{AP,APr,APc,APf}`` as fractions; NaN where the
            data have no such category.
        settings: The whole config.
    """
    config: str
    seed: Optional[int]
    values: Dict[str, float]
    settings: Dict[str, Any]


def read_run(work_dir: Path, load: Callable[[Path], Dict[str, Any]]) -> Run:
    """Read the work folder of one run, resumed or not.

    The metrics are those of the evaluation at the end of the training or,
    where there is none, of the newest test of its last checkpoint.

    Args:
        work_dir: ``--work-dir`` of the run; of one config and one seed.
        load: Reads a config file into a dictionary.

    Returns:
        The run.

    Raises:
        ValueError: If there is no run, more than one, or it has not been
            trained and evaluated to the end.
    """
    parts = sorted(p.parent for p in work_dir.glob('*/vis_data/config.py'))
    names = {path.stem for path in work_dir.glob('*.py')}
    if not parts or not names:
        raise ValueError('expected the work folder of a run, with NAME.py '
                         'and TIME/vis_data/config.py, but there are none')
    settings = {part: load(part / 'config.py') for part in parts}
    training = [part for part in parts if _is_training(part)]
    seeds = {(settings[part].get('randomness') or {}).get('seed')
             for part in training}
    if len(names) > 1 or len(seeds) > 1:
        raise ValueError(
            f'expected one config and one seed, but it holds '
            f'{", ".join(sorted(names))} with the seeds '
            f'{", ".join(sorted(map(str, seeds)))}; give each a folder')
    seed = seeds.pop() if seeds else None
    if training and seed is None:
        seed = _drawn_seed(training[0].parent)
    metrics = _final_metrics(work_dir, settings, training)
    decisive = settings[training[-1] if training else parts[-1]]
    return Run(names.pop(), seed, metrics, decisive)


def _final_metrics(work_dir: Path, settings: Dict[Path, dict],
                   training: Sequence[Path]) -> Dict[str, float]:
    """Look at the end of the training, then at the tests, newest first."""
    note = work_dir / 'last_checkpoint'
    last = note.read_text().strip() if note.is_file() else ''
    found = []
    if training and _is_the_end(last, settings[training[-1]]):
        found.append(_last_evaluation(training[-1], settings[training[-1]]))
    for part in reversed(settings):
        tested = last if part in training else settings[part].get('load_from')
        file = part.parent / f'{part.parent.name}.json'
        if file.is_file() and _is_the_end(tested, settings[part]):
            found.append(_pick(json.loads(file.read_text())))
    found = [metrics for metrics in found if metrics]
    if not found:
        raise ValueError(
            f'expected a training to the end and LVIS metrics of its last '
            f'checkpoint, but its last checkpoint is '
            f'{Path(last).name or "missing"} and there are no such metrics; '
            f'resume it, or test it with tools/test.py')
    return found[0]


def _last_evaluation(part: Path, settings: dict) -> Dict[str, float]:
    """Metrics after the last training step; none if it broke off before."""
    lines = (part / 'scalars.json').read_text().splitlines()
    values = json.loads(lines[-1]) if lines else {}
    end = settings['train_cfg'].get('max_epochs')
    # A loop of iterations logs evaluations under the number of the epoch.
    return _pick(values) if end in (None, values.get('step')) else {}


def _is_training(part: Path) -> bool:
    return (part / 'scalars.json').is_file()


def _is_the_end(checkpoint: Optional[str], settings: dict) -> bool:
    loop = settings.get('train_cfg') or {}
    name = (f'iter_{loop["max_iters"]}'
            if loop.get('max_iters') else f'epoch_{loop.get("max_epochs")}')
    return Path(checkpoint or '').stem == name


def _pick(values: dict) -> Dict[str, float]:
    found = {key.rsplit('/', 1)[-1]: value for key, value in values.items()}
    wanted = (f'{kind}_{column}' for kind in KINDS for column in COLUMNS)
    return {
        key: found[key] if found[key] >= 0 else math.nan
        for key in wanted if key in found
    }


def _drawn_seed(folder: Path) -> Optional[int]:
    log = folder / f'{folder.name}.log'
    text = log.read_text(errors='replace') if log.is_file() else ''
    match = re.search(r'^ +seed: (\d+)$', text, re.MULTILINE)
    return int(match[1]) if match else None


def check_runs(runs: Sequence[Run]) -> None:
    """Refuse runs that do not belong into one mean.

    Args:
        runs: The runs.

    Raises:
        ValueError: If two runs have the same config and seed, or runs of
            the same name differ in model, data, schedule or optimiser.
    """
    first = {}
    seen = set()
    for run in runs:
        if run.seed is not None and (run.config, run.seed) in seen:
            raise ValueError(f'expected every run once, but {run.config} with '
                             f'seed {run.seed} is given twice')
        seen.add((run.config, run.seed))
        other = first.setdefault(run.config, run)
        differ = [
            key for key in DECISIVE
            if run.settings.get(key) != other.settings.get(key)
        ]
        if differ:
            raise ValueError(
                f'expected runs of {run.config} to differ in the seed only, '
                f'but seeds {other.seed} and {run.seed} differ in '
                f'{", ".join(differ)}; rename one of the configs')


def run_rows(runs: Sequence[Run]) -> List[Dict[str, Any]]:
    """Tabulate runs, and mean and spread of every config over its seeds.

    Args:
        runs: The runs.

    Returns:
        Rows with ``config``, ``seed`` and the metrics as fractions, None
        where unknown: first the runs, then two rows for each config, whose
        ``seed`` is ``'mean'`` and ``'sd'``, the standard deviation of a
        sample (None for a single run).
    """
    keys = [
        f'{kind}_{column}' for kind in KINDS for column in COLUMNS
        if any(f'{kind}_AP' in run.values for run in runs)
    ]
    names = list(dict.fromkeys(run.config for run in runs))
    ordered = sorted(
        runs, key=lambda run: (names.index(run.config), run.seed or 0))
    rows = [_row(run.config, run.seed, run.values, keys) for run in ordered]
    for name in names:
        columns = {
            key: [
                run.values.get(key, math.nan) for run in runs
                if run.config == name
            ]
            for key in keys
        }
        mean = {key: float(np.mean(v)) for key, v in columns.items()}
        sd = {
            key: float(np.std(v, ddof=1)) if len(v) > 1 else math.nan
            for key, v in columns.items()
        }
        rows += [_row(name, 'mean', mean, keys), _row(name, 'sd', sd, keys)]
    return rows


def _row(config: str, seed: Any, values: Dict[str, float],
         keys: Sequence[str]) -> Dict[str, Any]:
    known = {k: v for k, v in values.items() if not math.isnan(v)}
    return dict(config=config, seed=seed, **{k: known.get(k) for k in keys})


def runs_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Write rows as two Markdown tables in percent: means, then runs.

    Args:
        rows: Of :func:`run_rows`.

    Returns:
        The tables; unknown values are ``-``.
    """
    keys = [key for key in rows[0] if key not in ('config', 'seed')]
    heads = [f'{KINDS[key.split("_")[0]]} {key.split("_")[1]}' for key in keys]
    single = [row for row in rows if row['seed'] not in ('mean', 'sd')]
    means = [row for row in rows if row['seed'] == 'mean']
    spreads = [row for row in rows if row['seed'] == 'sd']
    lines = [['config', 'runs', *heads], _rule(keys)]
    for mean, sd in zip(means, spreads):
        number = sum(row['config'] == mean['config'] for row in single)
        cells = [
            _percent(mean[key]) +
            (f' ± {_percent(sd[key])}' if sd[key] is not None else '')
            for key in keys
        ]
        lines.append([mean['config'], str(number), *cells])
    text = _markdown(lines)
    lines = [['config', 'seed', *heads], _rule(keys)]
    for row in single:
        seed = '-' if row['seed'] is None else str(row['seed'])
        lines.append([row['config'], seed, *(_percent(row[k]) for k in keys)])
    return f'{text}\n{_markdown(lines)}'


def _rule(keys: Sequence[str]) -> List[str]:
    return ['---', *['---:'] * (len(keys) + 1)]


def _percent(fraction: Optional[float]) -> str:
    return '-' if fraction is None else f'{100 * fraction:.2f}'


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
