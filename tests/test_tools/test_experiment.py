"""The experiment: what is trained and tested, what is kept and reported."""
import json
import math
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eql_mmdet.annotations.category_counts import class_names
from eql_mmdet.evaluation.predictions import read_sample
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).parents[2]
LONG_TAIL = dict(num_categories=120, num_train=140, num_val=24, seed=0)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('long_tail')
    make_tiny_lvis(folder, image_size=64, **LONG_TAIL)
    return folder


@pytest.fixture(scope='module')
def kept(tmp_path_factory, data):
    """A checkpoint in place of the kept start."""
    cfg = Config.fromfile(ROOT / 'configs/quick/long_tail/softmax.py')
    init_default_scope('mmdet')
    torch.manual_seed(1)
    classes = class_names(str(data / 'annotations/tiny_lvis_train.json'))
    path = tmp_path_factory.mktemp('kept') / 'start.pth'
    state = MODELS.build(cfg.model).state_dict()
    torch.save(
        dict(
            meta=dict(dataset_meta=dict(classes=classes), iter=9),
            state_dict=state), path)
    return path


class Inline:
    """Workers that are this very process."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *args):
        done = torch.futures.Future()
        done.set_result(function(*args))
        done.result = done.value
        return done

    def shutdown(self, **_):
        pass


@pytest.fixture
def experiment(load_tool, data, kept, tmp_path, monkeypatch):
    """The tool in a folder of its own, small, with kept trainings."""
    tool = load_tool('experiment')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/long_tail').symlink_to(data)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    monkeypatch.setattr(tool, 'KEPT', kept)
    monkeypatch.setattr(tool, 'make_tiny_lvis', lambda *_, **__: None)
    monkeypatch.setattr(tool, 'ProcessPoolExecutor', Inline)
    monkeypatch.setattr(tool, 'as_completed', list)
    monkeypatch.setattr(tool, 'LENGTHS', (2, ))
    monkeypatch.setattr(tool, 'RETRAINED',
                        (('softmax', 'plain'), ('eql', 'rfs'),
                         ('class_weights', 'cas')))
    propose = tool.propose
    monkeypatch.setattr(tool, 'propose', lambda *a: islice(propose(*a), 3))
    tool.trained = []

    def train(name, work_dir, processes, *options):
        tool.trained.append((name, processes, options))
        work_dir.mkdir(parents=True)
        if name == 'start':
            shutil.copy(kept, work_dir / 'last.pth')
        else:
            cfg = Config.fromfile(f'configs/quick/long_tail/{name}.py')
            state = MODELS.build(cfg.model).state_dict()
            torch.save(
                dict(meta=dict(iter=7), state_dict=state),
                work_dir / 'last.pth')
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'last.pth'))

    monkeypatch.setattr(tool, 'train', train)
    return tool


def results(experiment):
    return sorted(
        str(p.relative_to(experiment.OUT))
        for p in experiment.OUT.glob('*/*.json') if p.name != 'settings.json')


@pytest.mark.slow
def test_everything_is_trained_once_and_reported(experiment, capsys):
    options = ['--seeds', '0', '1', '--end-to-end-seeds', '3', '--jobs', '1']
    experiment.main(options)
    retrained = [
        f'retrain/{loss}-{sampler}-{steps}-{seed}.json' for seed in (0, 1)
        for steps in (2, ) for loss, sampler in experiment.RETRAINED
    ]
    chosen = ['softmax-plain', 'sigmoid-plain', 'eql-plain', 'eqlv2-plain']
    others = ['eql-rfs', 'class_weights-cas']  # there are no more
    whole = [f'end_to_end/{name}-3.json' for name in chosen + others]
    found = results(experiment)
    assert found == sorted([*retrained, *whole, 'start/start.json'])
    assert [name for name, *_ in experiment.trained
            ] == [n.split('-')[0] for n in chosen] + sorted(
                (n.split('-')[0] for n in others),
                key=[name for name, *_ in experiment.trained][4:].index)
    table = (experiment.OUT / 'results.md').read_text()
    assert table in capsys.readouterr().out
    for title in ('The start', 'Retrained', 'End to end'):
        for protocol in ('federated', 'exhaustive'):
            assert f'## {title}, {protocol}\n' in table
    # Three remedies, and three calibrations of the softmax.
    part = table.split('## Retrained, federated\n')[1].split('##')[0]
    assert part.count('\n| ') == 2 + 3 + 3
    assert part.count(' ± ') == 8 * (3 + 3)
    assert (experiment.OUT / 'remedies.png').stat().st_size > 10**4
    # What is finished is kept.
    times = {n: (experiment.OUT / n).stat().st_mtime_ns for n in found}
    experiment.trained.clear()
    experiment.main(options)
    assert not experiment.trained
    assert times == {n: (experiment.OUT / n).stat().st_mtime_ns for n in found}


def test_end_to_end_gets_sampler_seed_and_a_body_without_classifier(
        experiment):
    experiment.make_start(experiment.parse_args([]))
    outcome, = experiment.end_to_end_job('eql', 'rfs', 5)
    (name, processes, options), = experiment.trained
    assert (name, processes) == ('eql', 1)
    assert {
        'randomness.seed=5', 'train_dataloader.sampler._delete_=True',
        'train_dataloader.sampler.type=RepeatFactorSampler',
        'train_dataloader.sampler.repeat_threshold=0.01'
    } < set(options)
    assert outcome.remedy == ('eql', 'rfs', 'none', '7 iterations')
    body = torch.load(experiment.BODY)['state_dict']
    start = torch.load(experiment.START)['state_dict']
    assert set(start) - set(body) == {
        f'roi_head.bbox_head.fc_cls.{name}'
        for name in ('weight', 'bias')
    }


def test_what_needs_the_retrained_says_so(experiment):
    with pytest.raises(SystemExit, match='run --parts retrained first'):
        experiment.main(['--parts', 'end_to_end'])


def test_nothing_to_report_is_said(experiment):
    with pytest.raises(SystemExit, match='no finished training'):
        experiment.main(['--parts'])


def test_results_of_another_start_are_refused(experiment):
    experiment.make_start(experiment.parse_args([]))
    experiment.do(experiment.start_job, ())
    experiment.main(['--parts'])
    path = experiment.OUT / 'start/start.json'
    path.write_text(
        json.dumps(dict(json.loads(path.read_text()), start='another')))
    with pytest.raises(SystemExit, match='made from another start'):
        experiment.main(['--parts'])


def test_a_new_start_is_trained_and_not_the_kept_one_taken(experiment):
    args = experiment.parse_args(['--new-start', '--jobs', '3'])
    experiment.make_start(args)
    (name, processes, options), = experiment.trained
    assert (name, processes) == ('start', 2)
    assert '--resume' in options
    assert 'train_dataloader.batch_size=8' in options
    assert experiment.START.exists() and experiment.BODY.exists()


def test_a_failed_training_is_refused_by_its_output(load_tool, tmp_path,
                                                    monkeypatch):
    tool = load_tool('experiment')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='failed, see .*output.txt'):
        tool.train('softmax', tmp_path / 'run', 1)
    assert 'tools/train.py' in (tmp_path / 'run/output.txt').read_text()


def shaken(truth, index, generator):
    """Ground truth as detections, some moved, some renamed."""
    names = {c['id']: c['name'] for c in truth['categories']}
    classes = index.names
    samples = []
    for image in truth['images']:
        boxes, labels = [], []
        for a in truth['annotations']:
            if a['image_id'] == image['id']:
                x, y, w, h = a['bbox']
                box = np.array([x, y, x + w, y + h])
                for _ in range(2):
                    boxes.append(box + generator.normal(0, 2, 4))
                    labels.append(
                        classes.index(names[a['category_id']]) if generator.
                        random() < .7 else generator.integers(len(classes)))
        boxes = np.array(boxes).reshape(-1, 4)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        found = InstanceData(
            bboxes=torch.tensor(boxes),
            labels=torch.tensor(labels, dtype=torch.int64),
            scores=torch.tensor(generator.random(len(boxes))))
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=found))
    return samples


@pytest.fixture
def judged(experiment, data, monkeypatch):
    path = data / 'annotations/tiny_lvis_val_exhaustive.json'
    index = experiment.truth('exhaustive').index
    samples = shaken(
        json.loads(path.read_text()), index, np.random.default_rng(0))
    monkeypatch.setattr(experiment, 'detect', lambda _, image: image)
    values = {
        (name, number): found
        for name, number, found in experiment.scores(None, samples)
    }
    return index, samples, values


@pytest.mark.parametrize('number', [300, 30])
def test_the_exhaustive_ap_is_that_of_coco(experiment, judged, data, number):
    index, samples, values = judged
    api = COCO()
    api.dataset = json.loads(
        (data / 'annotations/tiny_lvis_val_exhaustive.json').read_text())
    for annotation in api.dataset['annotations']:
        annotation['iscrowd'] = 0
    api.createIndex()
    rows = []
    for sample in samples:
        raw = read_sample(sample, index)
        for row in (-raw.scores).argsort()[:number]:
            rows.append(
                dict(
                    image_id=sample['img_id'],
                    category_id=index.category_ids[raw.labels[row]],
                    bbox=raw.boxes[row].tolist(),
                    score=raw.scores[row]))
    found = COCOeval(api, api.loadRes(rows), 'bbox')
    found.params.maxDets = [1, 10, 300]
    found.evaluate()
    found.accumulate()
    precision = found.eval['precision'][:, :, :, 0, -1]
    assert values['exhaustive', number]['AP'] == pytest.approx(
        precision[precision > -1].mean(), abs=1e-9)
    assert 0.05 < values['exhaustive', number]['AP'] < 0.9


def test_fewer_detections_and_protocols_make_a_difference(judged):
    *_, values = judged
    aps = {key: found['AP'] for key, found in values.items()}
    assert len(set(aps.values())) >= 3
    assert aps['exhaustive', 30] <= aps['exhaustive', 300]
    assert not any(math.isnan(ap) for ap in aps.values())
