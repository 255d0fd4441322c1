"""Whole runs: a wrong class stops them before the first image."""
import json
import sys
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.runner import Runner

sys.path.insert(0, str(Path(__file__).parents[1]))
from class_project import NAMES, SMALL, write_split  # noqa: E402

ROOT = Path(__file__).parents[2]
BASE = f"_base_ = '{ROOT}/configs/eql_r50_fpn_1x_coco_format.py'\n"
SCALES = {
    'train_dataloader.dataset.pipeline.2.scale': (96, 96),
    'val_dataloader.dataset.pipeline.1.scale': (96, 96),
    'test_dataloader.dataset.pipeline.1.scale': (96, 96),
}


def make_project(folder):
    custom = folder / 'data/custom'
    write_split(custom, 'train', [(0, 1)] * 5 + [(0, 1, 2)])
    write_split(custom, 'val', [(0, 1, 2)])
    (folder / 'mine.py').write_text(BASE + SMALL)
    return folder


def make_runner(folder, **options):
    cfg = Config.fromfile(folder / 'mine.py')
    cfg.work_dir = str(folder / 'work')
    cfg.merge_from_dict({**SCALES, 'log_level': 'ERROR', **options})
    cfg.experiment_name = f'run_{id(cfg)}'
    return Runner.from_cfg(cfg)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A project after one epoch; not to be changed."""
    folder = make_project(tmp_path_factory.mktemp('trained'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_runner(folder).train()
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def checkpoint_of(trained):
    return str(trained / 'work/epoch_1.pth')


def reorder(path, order):
    content = json.loads(path.read_text())
    content['categories'] = [content['categories'][k] for k in order]
    path.write_text(json.dumps(content))


def test_training_needs_no_class_names_and_keeps_them(trained):
    meta = torch.load(checkpoint_of(trained), weights_only=False)['meta']
    assert tuple(meta['dataset_meta']['classes']) == NAMES
    written = Config.fromfile(trained / 'work/mine.py')
    assert written.model.roi_head.bbox_head.num_classes == 3
    assert written.model.roi_head.mask_head.num_classes == 3


def test_a_checkpoint_is_tested_with_its_own_labels(trained, project):
    """The files list their classes in another order since."""
    checkpoint = checkpoint_of(trained)
    plain = make_runner(project, load_from=checkpoint).test()
    for split in ('train', 'val'):
        path = project / f'data/custom/annotations/{split}.json'
        reorder(path, (2, 0, 1))
    runner = make_runner(project, load_from=checkpoint)
    found = runner.test()
    assert runner.test_dataloader.dataset.metainfo['classes'] == NAMES
    assert runner.test_evaluator.metrics[0].cat_ids == [10, 20, 30]
    assert found == plain


def test_a_checkpoint_of_other_classes_stops_the_test(trained, project):
    for split in ('train', 'val'):
        path = project / f'data/custom/annotations/{split}.json'
        path.write_text(path.read_text().replace('"dot"', '"ring"'))
    runner = make_runner(project, load_from=checkpoint_of(trained))
    with pytest.raises(
            ValueError, match=r'\(disc, bar, dot\).*\(disc, bar, ring\)'):
        runner.test()


def test_a_checkpoint_whose_layers_do_not_fit_stops_the_test(trained, project):
    names, images = (*NAMES, 'ring'), [(0, 1)] * 8 + [(0, 1, 2, 3)]
    for split in ('train', 'val'):
        write_split(project / 'data/custom', split, images, names=names)
    runner = make_runner(project, load_from=checkpoint_of(trained))
    with pytest.raises(
            ValueError, match=r'fc_cls.weight is \(4, 32\).*\(3, 32\).*dot'):
        runner.test()


@pytest.mark.slow
def test_other_classes_may_be_trained_from_the_same_checkpoint(
        trained, project):
    names, images = (*NAMES, 'ring'), [(0, 1)] * 8 + [(0, 1, 2, 3)]
    for split in ('train', 'val'):
        write_split(project / 'data/custom', split, images, names=names)
    runner = make_runner(project, load_from=checkpoint_of(trained))
    runner.train()
    assert runner.model.roi_head.bbox_head.fc_cls.out_features == 4


def test_training_is_not_resumed_with_other_labels(trained, project):
    path = project / 'data/custom/annotations/train.json'
    reorder(path, (2, 0, 1))
    runner = make_runner(
        project,
        load_from=checkpoint_of(trained),
        resume=True,
        **{'train_cfg.max_epochs': 2})
    with pytest.raises(
            ValueError,
            match=r'trained on \(disc, bar, dot\).*now has \(dot, disc, bar'):
        runner.train()


CONVERTED = dict(dataset_meta=dict(classes=NAMES))


@pytest.mark.slow
@pytest.mark.parametrize(
    'change', [
        lambda c: c['state_dict'],
        lambda c: dict(state_dict=c['state_dict'], meta=CONVERTED),
        lambda c: dict(c, meta=CONVERTED),
        lambda c: {
            k: v
            for k, v in c.items() if k != 'message_hub'
        },
        lambda c: {
            k: v
            for k, v in c.items() if k != 'optimizer'
        },
    ],
    ids=['bare', 'converted', 'counters', 'log', 'published'])
def test_weights_alone_are_not_resumed(trained, project, change):
    whole = torch.load(checkpoint_of(trained), weights_only=False)
    torch.save(change(whole), project / 'weights.pth')
    runner = make_runner(
        project, load_from=str(project / 'weights.pth'), resume=True)
    with pytest.raises(
            ValueError, match='weights.pth.*weights only.*load_from'):
        runner.train()
    assert runner.iter == 0


@pytest.mark.slow
def test_a_model_is_tested_without_its_training_annotations(trained, project):
    plain = make_runner(project, load_from=checkpoint_of(trained)).test()
    (project / 'data/custom/annotations/train.json').unlink()
    runner = make_runner(project, load_from=checkpoint_of(trained))
    assert runner.test() == plain
    # Nor from the classes of another set that is tested on.
    reorder(project / 'data/custom/annotations/val.json', (1, 2, 0))
    assert make_runner(
        project, load_from=checkpoint_of(trained)).test() == plain


def test_training_without_frequencies_stops_before_the_first_image(project):
    (project /
     'mine.py').write_text(BASE + SMALL +
                           'model["roi_head"]["bbox_head"]["loss_cls"] = dict('
                           "frequency_source='gone.json')")
    runner = make_runner(project)
    with pytest.raises(ValueError, match='frequency_source="gone.json"'):
        runner.train()
    assert runner.iter == 0


def test_models_are_used_from_anywhere_without_any_data(
        trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = str(trained / 'data/custom/val/0.png')
    config = str(trained / 'work/mine.py')
    model = init_detector(config, checkpoint_of(trained), device='cpu')
    assert tuple(model.dataset_meta['classes']) == NAMES
    inferencer = DetInferencer(config, checkpoint_of(trained), device='cpu')
    found = inferencer(image, out_dir=str(tmp_path / 'out'), pred_score_thr=0)
    labels = found['predictions'][0]['labels']
    assert labels and set(labels) <= {0, 1, 2}
    assert (tmp_path / 'out/vis/0.png').is_file()


def test_heads_without_a_number_of_classes_say_why(trained, tmp_path,
                                                   monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='num_classes.*work_dir'):
        init_detector(
            str(trained / 'mine.py'), checkpoint_of(trained), device='cpu')


@pytest.mark.parametrize('classes, message', [
    (('disc', 'barr', 'dot'), r'numbers its labels as \(disc, dot\)'),
    (('dot', 'bar', 'disc'), r'\(disc, bar, dot\).*are \(dot, bar, disc\)'),
])
def test_what_the_data_set_of_the_host_does_silently_stops_the_run(
        project, classes, message):
    (project / 'mine.py').write_text(BASE + SMALL + f'''
host = dict(type='CocoDataset', metainfo=dict(classes={classes}))
train_dataloader['dataset'] = val_dataloader['dataset'] = host
val_evaluator = test_evaluator = dict(type='CocoMetric')
model['roi_head']['mask_head']['rle'] = False
model['roi_head']['bbox_head'].update(
    type='Shared2FCBBoxHead', loss_cls=dict(
        type='CrossEntropyLoss', _delete_=True))
''')
    with pytest.raises(ValueError, match=message):
        make_runner(project).train()


@pytest.mark.slow
def test_the_metric_of_the_host_follows_the_labels_by_name(trained, project):
    plain = make_runner(project, load_from=checkpoint_of(trained)).test()
    reorder(project / 'data/custom/annotations/val.json', (1, 2, 0))
    options = {
        'model.roi_head.mask_head.rle': False,
        'test_evaluator.type': 'CocoMetric',
        'val_evaluator.type': 'CocoMetric'
    }
    path = project / 'data/custom/annotations/val.json'
    content = json.loads(path.read_text())
    for item in content['annotations']:
        item['iscrowd'] = 0
    path.write_text(json.dumps(content))
    runner = make_runner(project, load_from=checkpoint_of(trained), **options)
    assert runner.test() == plain


@pytest.mark.slow
@pytest.mark.parametrize('metric', ['COCOEvalMetric', 'LVISEvalMetric'])
def test_a_test_set_without_annotations_gets_its_submission(
        trained, project, metric):
    path = project / 'data/custom/annotations/val.json'
    content = json.loads(path.read_text())
    del content['annotations']
    path.write_text(json.dumps(content))
    options = {
        'test_evaluator.type': metric,
        'test_evaluator.format_only': True,
        'test_evaluator.outfile_prefix': str(project / 'out/mine'),
    }
    make_runner(project, load_from=checkpoint_of(trained), **options).test()
    for kind in ('bbox', 'segm'):
        items = json.loads((project / f'out/mine.{kind}.json').read_text())
        assert items and {i['category_id'] for i in items} <= {10, 20, 30}
