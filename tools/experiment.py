#!/usr/bin/env python
"""Compare the remedies for a long tail on a synthetic set, by both protocols.

What is finished is kept: an interrupted experiment goes on where it was.
"""
import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.logging import MMLogger

from eql_mmdet.host.checkpoints import load_local_checkpoint
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.reports.remedies import (Outcome, Remedy, best_first,
                                        remedy_table)
from eql_mmdet.reports.remedy_picture import draw_remedies
from eql_mmdet.retraining.classifier import (Schedule, drawn_images, retrain,
                                             start_head)
from eql_mmdet.retraining.detector import (ANEW, build_dataset, build_detector,
                                           build_sampler, feature_settings,
                                           load_detector, read_config)
from eql_mmdet.retraining.pooling import make_layout, pool
from eql_mmdet.retraining.testing import Truth, detect, propose
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = Path('configs/quick/long_tail')
DATA = Path('data/long_tail')
OUT = Path('work_dirs/experiment')
#: The common start that is kept in the repository, the one in use, and as
#: end-to-end training takes it.
KEPT = CONFIGS / 'start.pth'
START, BODY = OUT / 'whole_start.pth', OUT / 'start.pth'
TRUTHS = dict(
    federated=DATA / 'annotations/tiny_lvis_val.json',
    exhaustive=DATA / 'annotations/tiny_lvis_val_exhaustive.json')
#: Of an image: the usual number, and one that binds as 300 does for LVIS.
DETECTIONS = (300, 30)
LOSSES = ('softmax', 'sigmoid', 'eql', 'eqlv2', 'fedloss', 'balanced_softmax',
          'class_weights', 'seesaw')
SAMPLERS = dict(
    plain=dict(type='DefaultSampler', shuffle=True),
    # 30 of 3,000 images, as 5e-4 are 28 of LVIS.
    rfs=dict(type='RepeatFactorSampler', repeat_threshold=0.01),
    cas=dict(type='ClassAwareSampler', num_sample_class=1))
#: For softmax, with the numbers of their papers.
CALIBRATIONS = dict(
    none=None,
    norcal=dict(type='norcal', gamma=0.6),
    logit_adjustment=dict(type='logit_adjustment', tau=1.0),
    fracal=dict(type='fracal'))
#: All losses; samplers where the loss does not balance by itself.
RETRAINED = (
    *((loss, 'plain') for loss in LOSSES),
    *((loss, 'rfs') for loss in ('softmax', 'sigmoid', 'eql')),
    *((loss, 'cas') for loss in ('softmax', 'sigmoid')),
)
#: Steps: as the tool has it, and three times that.
LENGTHS = (1000, 3000)
ROIS_PER_IMAGE = 64
END_TO_END = ('softmax', 'sigmoid', 'eql', 'eqlv2')
PARTS = ('start', 'retrained', 'end_to_end')


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--parts',
        nargs='*',
        choices=PARTS,
        default=list(PARTS),
        help='of the experiment; the report is written in any case')
    parser.add_argument(
        '--new-start',
        action='store_true',
        help=f'train the common start, too, and do not take {KEPT}')
    for name, number in (('seeds', 5), ('end-to-end-seeds', 3)):
        parser.add_argument(
            f'--{name}', type=int, nargs='+', default=list(range(number)))
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='trainings at a time, each on one thread')
    return parser.parse_args(argv)


@one_line_refusals('experiment')
def main(argv=None):
    """Train what is missing, test it, and write the tables."""
    args = parse_args(argv)
    os.chdir(ROOT)
    if args.parts:
        make_tiny_lvis(
            DATA, num_categories=120, num_train=3000, num_val=600, seed=0)
        make_start(args)
    if 'start' in args.parts:
        run_jobs(start_job, [()], args.jobs)
    if 'retrained' in args.parts:
        pool_features()
        run_jobs(retrain_job, [(*remedy, steps, seed) for seed in args.seeds
                               for steps in LENGTHS
                               for remedy in RETRAINED], args.jobs)
    if 'end_to_end' in args.parts:
        run_jobs(end_to_end_job,
                 [(loss, sampler, seed) for seed in args.end_to_end_seeds
                  for loss, sampler in end_to_end_remedies()], args.jobs)
    report()


def make_start(args):
    """Take what all begin with, or train it; go on with an interrupted one."""
    OUT.mkdir(parents=True, exist_ok=True)
    if not START.exists():
        kept = train_start(args.jobs) if args.new_start else KEPT
        save_weights(START, kept)
    if not BODY.exists():
        # Else softmax alone would begin with a trained classifier.
        save_weights(BODY, START, ANEW)


def train_start(jobs):
    """Train the common start and return its checkpoint."""
    work_dir = OUT / 'start'
    # Two processes of one thread are faster than one of two.
    number = 1 if torch.cuda.is_available() else max(
        n for n in range(1, 17) if 16 % n == 0 and n <= jobs)
    train('start', work_dir, number, '--resume', '--cfg-options',
          f'train_dataloader.batch_size={16 // number}')
    return last_checkpoint(work_dir)


def train(name, work_dir, processes, *options):
    """Run tools/train.py in processes of their own; output goes to a file."""
    work_dir.mkdir(parents=True, exist_ok=True)
    config = str(CONFIGS / f'{name}.py')
    command = [sys.executable, 'tools/train.py', config]
    if processes > 1:
        command = ['tools/dist_train.sh', config, str(processes)]
    command += ['--work-dir', str(work_dir), *options]
    with open(work_dir / 'output.txt', 'a') as output:
        code = subprocess.run(
            command,
            env=dict(os.environ, OMP_NUM_THREADS='1'),
            stdout=output,
            stderr=subprocess.STDOUT).returncode
    if code:
        raise ValueError(f'{" ".join(command)} failed, see {output.name}')


def last_checkpoint(work_dir):
    """Find what a training left last."""
    return (work_dir / 'last_checkpoint').read_text().strip()


def save_weights(path, checkpoint, left_out=()):
    """Keep the weights of a checkpoint, and what they are of."""
    found = load_local_checkpoint(str(checkpoint), 'cpu')
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in found['state_dict'].items()
        if not name.startswith(tuple(left_out))
    }
    meta = dict(dataset_meta=found['meta']['dataset_meta'])
    with whole_file(path, 'wb') as file:
        torch.save(dict(meta=meta, state_dict=state), file)


def run_jobs(job, arguments, workers):
    """Do what has no result yet; say after each how long the rest takes."""
    rest = [a for a in arguments if not is_done(result_file(job, a))]
    if not rest:
        return
    start = time.perf_counter()
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, prepare_worker) as executor:
        futures = [executor.submit(do, job, a) for a in rest]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                each = (time.perf_counter() - start) / done
                print(
                    f'{future.result()}: {done} of {len(rest)}, '
                    f'{each * (len(rest) - done) / 60:.0f} minutes left',
                    flush=True)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def prepare_worker():
    """Leave the other processors to the other workers, and say little."""
    torch.set_num_threads(1)
    MMLogger.get_instance('experiment', log_level='WARNING')


def result_file(job, arguments):
    """Say where the result of a job lives."""
    kind = job.__name__[:-len('_job')]
    return OUT / kind / f'{"-".join(map(str, arguments)) or "start"}.json'


def is_done(path):
    """Tell whether there is a result, and refuse that of another start."""
    if not path.exists():
        return False
    if json.loads(path.read_text())['start'] != digest_of_start():
        raise ValueError(f'{path} was made from another start than {START}; '
                         f'move {OUT} away and begin anew')
    return True


@lru_cache
def digest_of_start():
    """Tell one start from another."""
    return hashlib.sha256(START.read_bytes()).hexdigest()


def do(job, arguments):
    """Run a job in a worker and keep its result."""
    start, path = time.perf_counter(), result_file(job, arguments)
    outcomes = job(*arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        json.dump(
            dict(
                start=digest_of_start(),
                seconds=time.perf_counter() - start,
                outcomes=outcomes), file)
    return str(path)


def device():
    """Choose where models run."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def config_of(loss, sampler='plain', calibration='none'):
    """Read the config of a remedy."""
    options = {
        'train_dataloader.sampler': dict(SAMPLERS[sampler], _delete_=True)
    }
    if CALIBRATIONS[calibration]:
        options['model.roi_head.bbox_head.calibration'] = dict(
            CALIBRATIONS[calibration], frequency_source=None)
    return read_config(str(CONFIGS / f'{loss}.py'), options, ROIS_PER_IMAGE)


@lru_cache
def train_set():
    """Build the training set, once a worker."""
    return build_dataset(config_of('softmax'))


def start_model(cfg, seed):
    """Build a detector with the weights of the start and a new classifier."""
    dataset = train_set()
    model = build_detector(cfg, dataset)
    start_head(model.roi_head.bbox_head, seed)
    load_detector(model, str(START), dataset.metainfo['classes'])
    return model.to(device())


@lru_cache
def pool_features():
    """Pool the features of the training set, or find them, once a worker."""
    cfg, dataset = config_of('softmax'), train_set()
    model = start_model(cfg, 0)
    layout = make_layout(OUT / 'features', model, len(dataset))
    return pool(model, dataset, layout, feature_settings(cfg, str(START)))


@lru_cache
def proposals():
    """Propose for every test image with the start, once a worker."""
    cfg = config_of('softmax')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    return list(propose(start_model(cfg, 0), dataset))


def start_job():
    """Test the start as it was trained, with every calibration."""
    model = start_model(config_of('softmax'), 0)
    found = load_local_checkpoint(str(START), 'cpu')
    model.load_state_dict(found['state_dict'])
    return calibrated_outcomes(model.eval(), 'softmax', 'plain', '25 epochs',
                               0)


def retrain_job(loss, sampler, steps, seed):
    """Train the head of the start again, and test it."""
    cfg = config_of(loss, sampler)
    model, features = start_model(cfg, seed), pool_features()
    torch.manual_seed(seed)  # what the loss draws
    images = drawn_images(build_sampler(cfg, train_set(), seed))
    retrain(model, features, images, Schedule(steps=steps))
    return calibrated_outcomes(model, loss, sampler, f'{steps} steps', seed)


def calibrated_outcomes(model, loss, sampler, length, seed):
    """Test a head as it is; if it is a softmax, with calibrations, too."""
    names = CALIBRATIONS if loss == 'softmax' else ('none', )
    state = model.roi_head.bbox_head.state_dict()
    outcomes = []
    for name in names:
        head = MODELS.build(
            config_of(loss, sampler, name).model.roi_head.bbox_head)
        head.load_state_dict(state)
        model.roi_head.bbox_head = head.to(device()).eval()
        remedy = Remedy(loss, sampler, name, length)
        outcomes.append(Outcome(remedy, seed, scores(model, proposals())))
    return outcomes


def end_to_end_remedies():
    """List four losses and the best two others of what was retrained."""
    chosen = [(loss, 'plain') for loss in END_TO_END]
    outcomes = [
        o for o in read_outcomes('retrain')
        if o.remedy.calibration == 'none' and o.remedy.length ==
        f'{max(LENGTHS)} steps' and o.remedy[:2] not in chosen
    ]
    if not outcomes:
        raise ValueError('expected the best two of what was retrained, but '
                         'nothing was: run --parts retrained first')
    for protocol in TRUTHS:
        ranked = best_first(outcomes, protocol, DETECTIONS[0])
        chosen.append(next(r[:2] for r in ranked if r[:2] not in chosen))
    return chosen


def end_to_end_job(loss, sampler, seed):
    """Train a whole detector from the body of the start, and test it."""
    work_dir = OUT / 'end_to_end' / f'{loss}-{sampler}-{seed}'
    options = [f'{k}={v}' for k, v in SAMPLERS[sampler].items()]
    train(loss, work_dir, 1, '--cfg-options', f'randomness.seed={seed}',
          'train_cfg.val_begin=1000000',
          'train_dataloader.sampler._delete_=True',
          *(f'train_dataloader.sampler.{option}' for option in options))
    cfg = config_of(loss, sampler)
    model = build_detector(cfg, train_set()).to(device())
    found = load_local_checkpoint(last_checkpoint(work_dir), 'cpu')
    model.load_state_dict(found['state_dict'])
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    remedy = Remedy(loss, sampler, 'none',
                    f'{found["meta"]["iter"]} iterations')
    return [Outcome(remedy, seed, scores(model, propose(model, dataset)))]


def scores(model, images):
    """Evaluate a model by both protocols, with both numbers of detections."""
    samples = [detect(model, image) for image in images]
    return [[name, number, truth(name).scores(samples, number)]
            for name in TRUTHS for number in DETECTIONS]


@lru_cache
def truth(name):
    """Read a file of the truth, once a worker."""
    return Truth(str(TRUTHS[name]), train_set().metainfo['classes'])


def read_outcomes(kind):
    """Read all results of a kind, in the order of seeds and remedies."""
    outcomes = []
    for path in (OUT / kind).glob('*.json'):
        if is_done(path):
            outcomes += [
                Outcome(
                    Remedy(*remedy), seed, {
                        (name, number): found
                        for name, number, found in values
                    }) for remedy, seed, values in json.loads(path.read_text())
                ['outcomes']
            ]
    return sorted(outcomes, key=_order)


def _order(outcome):
    loss, sampler, calibration, length = outcome.remedy
    return (int(length.split()[0]),
            LOSSES.index(loss), list(SAMPLERS).index(sampler),
            list(CALIBRATIONS).index(calibration), outcome.seed)


def report():
    """Write tables and a picture of what is finished."""
    titles = dict(
        start='The start', retrain='Retrained', end_to_end='End to end')
    found = {kind: read_outcomes(kind) for kind in titles}
    parts = [
        f'## {title}, {name}\n\n' + remedy_table(found[kind], name, DETECTIONS)
        for kind, title in titles.items() if found[kind] for name in TRUTHS
    ]
    if not parts:
        raise ValueError(f'there is no finished training in {OUT}')
    text = '\n'.join(parts)
    with whole_file(OUT / 'results.md', encoding='utf-8') as file:
        file.write(text)
    longest = [
        o for o in found['retrain']
        if o.remedy.length == f'{max(LENGTHS)} steps'
    ]
    if longest:
        draw_remedies(longest, tuple(TRUTHS), DETECTIONS[0],
                      OUT / 'remedies.png')
    print(text)


if __name__ == '__main__':
    main()
