"""From two annotation files to a config that trains, and why it is so."""
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from class_project import write_split
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config

from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).parents[2]
NO_MASKS = 'expected every object to have a mask'
#: Images with 1 to 101 objects of a category: rare, common and frequent.
TRAIN = [(0, 1)] * 11 + [(0, )] * 90 + [(0, 1, 2)]


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """Sets in COCO format, LVIS format, without masks, and with findings."""
    root = tmp_path_factory.mktemp('sets')
    sure = dict(neg_category_ids=[20], not_exhaustive_category_ids=[])
    for name, kind in dict(coco={}, lvis=sure).items():
        letters = 'rcf' if kind else ''
        write_split(root / name, 'train', TRAIN, frequencies=letters, **kind)
        write_split(
            root / name, 'val', [(0, 1, 2)], frequencies=letters, **kind)
    for name, edit in dict(boxes=unmask, findings=mark).items():
        shutil.copytree(root / 'coco', root / name)
        for path in (root / name / 'annotations').iterdir():
            content = json.loads(path.read_text())
            edit(content['annotations'])
            path.write_text(json.dumps(content))
    return root


def unmask(annotations):
    for annotation in annotations:
        del annotation['segmentation']


def mark(annotations):
    annotations[0]['iscrowd'] = 1
    annotations[1]['bbox'][2] = 0.5


@pytest.fixture
def new_config(load_tool, sets, monkeypatch, tmp_path, capsys):
    """Write my_config.py for a set; return it, parsed, and what was said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'sets').symlink_to(sets)

    def write(name, *options):
        files = [f'sets/{name}/annotations/{s}.json' for s in ('train', 'val')]
        capsys.readouterr()
        load_tool('new_config').main([*files, *options])
        return (Config.fromfile(tmp_path / 'my_config.py'),
                capsys.readouterr().out)

    return write


def build(cfg):
    """Build everything that a training builds, the model without memory."""
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    for loader in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{loader}_dataloader'].dataset)
        assert dataset.metainfo['classes'] == ('disc', 'bar', 'dot')
    METRICS.build(cfg.test_evaluator)
    return model.roi_head


@pytest.mark.parametrize('options', [[], ['--quick']], ids=['full', 'quick'])
@pytest.mark.parametrize('name, metric, masks', [
    ('coco', 'COCOEvalMetric', True),
    ('lvis', 'LVISEvalMetric', True),
    ('boxes', 'COCOEvalMetric', False),
    ('findings', 'COCOEvalMetric', True),
])
def test_the_config_fits_the_files(new_config, tmp_path, options, name, metric,
                                   masks):
    cfg, said = new_config(name, *options)
    head = build(cfg)
    assert head.bbox_head.num_classes == 3
    assert head.with_mask is masks
    assert cfg.test_evaluator.type == metric
    wanted = cfg.test_evaluator.metric
    assert ('segm' in wanted) is masks
    lines = (tmp_path / 'my_config.py').read_text().splitlines()
    assert len(lines) <= 30
    # Paths are those of the command line, relative or not.
    loader = cfg.train_dataloader.dataset
    assert loader.data_root == ''
    assert loader.ann_file == f'sets/{name}/annotations/train.json'
    assert loader.data_prefix.img == f'sets/{name}/train'
    assert loader.filter_cfg.filter_empty_gt
    assert not loader.filter_cfg.get('min_size')
    assert 'tools/train.py my_config.py\n' in said
    assert 'tools/report.py work_dirs/my_config\n' in said
    assert ('will not be trained' in said) is (name == 'findings')
    if options:
        assert cfg.get('load_from') is None
    else:
        kind = 'mask' if masks else 'faster'
        assert f'/{kind}_rcnn_r50_fpn_1x_coco' in cfg.load_from


def test_a_schedule_is_as_long_as_the_set_is_small(new_config):
    cfg, _ = new_config('coco')
    assert cfg.train_cfg.max_epochs == 100  # 102 images
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, steps.milestones) == (500, [66, 91])
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    assert cfg.optim_wrapper.optimizer.lr == 0.02


@pytest.mark.slow
@pytest.mark.parametrize('method, loss, sampler', [
    ('softmax', 'CrossEntropyLoss', 'DefaultSampler'),
    ('sigmoid', 'EqualizationLoss', 'DefaultSampler'),
    ('eql+rfs', 'EqualizationLoss', 'RepeatFactorSampler'),
    ('eqlv2', 'EqualizationLossV2', 'DefaultSampler'),
    ('fedloss', 'FederatedLoss', 'DefaultSampler'),
    ('balanced_softmax', 'BalancedSoftmaxLoss', 'DefaultSampler'),
    ('class_weights+norcal', 'ClassWeightedLoss', 'DefaultSampler'),
    ('seesaw', 'SyncSeesawLoss', 'DefaultSampler'),
    ('softmax+cas+fracal', 'CrossEntropyLoss', 'ClassAwareSampler'),
])
def test_another_method_can_be_asked_for(new_config, method, loss, sampler):
    cfg, said = new_config('coco', '--method', method)
    head = build(cfg).bbox_head
    assert type(head.loss_cls).__name__ == loss
    assert cfg.train_dataloader.sampler.type == sampler
    assert f'method: {method},' in said
    calibration = cfg.model.roi_head.bbox_head.get('calibration')
    assert (calibration or {}).get('type') == next(
        (c for c in ('norcal', 'fracal') if c in method), None)
    if 'rfs' in method:  # 30 of 102 images
        assert cfg.train_dataloader.sampler.repeat_threshold == 0.29


@pytest.mark.parametrize('name, masks, depth',
                         [('mask-rcnn_r101', True, 101),
                          ('faster-rcnn_r101', False, 101)])
def test_another_detector_can_be_asked_for(new_config, name, masks, depth):
    cfg, said = new_config('lvis', '--detector', name)
    assert cfg.model.backbone.depth == depth
    assert build(cfg).with_mask is masks
    assert name.replace('-', '_') in cfg.load_from
    assert ('segm' in cfg.val_evaluator.metric) is masks


@pytest.mark.parametrize('name, options, words', [
    ('boxes', ['--detector', 'mask-rcnn_r50'], NO_MASKS),
    ('coco', ['--method', 'eqlv3'], 'expected a loss .* got "eqlv3"'),
    ('coco', ['--method', 'eql+norcal'], 'expected a calibration with'),
    ('coco', ['--method', 'rfs+cas'], 'expected a loss'),
    ('coco', ['--out', 'a.b.py'], 'without another dot'),
    ('coco', ['--out', 'a.txt'], 'expected --out to be a .py file'),
    ('coco', ['--images', 'nowhere'], 'say with --images DIR'),
])
def test_what_cannot_be_is_refused_in_one_line(new_config, tmp_path, name,
                                               options, words):
    with pytest.raises(SystemExit, match=f'^new_config: .*{words}'):
        new_config(name, *options)
    assert not list(tmp_path.rglob('*.py'))


def test_nothing_is_overwritten(new_config, tmp_path):
    (tmp_path / 'my_config.py').write_text('mine = 1')
    with pytest.raises(SystemExit, match='already there'):
        new_config('coco')
    assert (tmp_path / 'my_config.py').read_text() == 'mine = 1'


def test_categories_that_the_training_lacks_are_refused(
        new_config, sets, tmp_path):
    other = write_split(
        tmp_path / 'other', 'val', [(0, 3)], names='abcd', frequencies='')
    train = tmp_path / 'other/annotations/train.json'
    shutil.copy(sets / 'coco/annotations/train.json', train)
    shutil.copytree(sets / 'coco/train', tmp_path / 'other/train')
    assert other.exists()
    (tmp_path / 'sets').unlink()
    (tmp_path / 'sets').mkdir()
    (tmp_path / 'other').rename(tmp_path / 'sets/coco')
    with pytest.raises(SystemExit, match='has categories that .* lacks'):
        new_config('coco')


def test_the_readme_has_the_config_of_a_generated_set(load_tool, tmp_path,
                                                      monkeypatch):
    root = tmp_path / 'data/custom'
    make_tiny_lvis(root, num_categories=12, num_train=120, num_val=40, seed=0)
    for split in ('train', 'val'):
        exhaustive = root / f'annotations/tiny_lvis_{split}_exhaustive.json'
        content = json.loads(exhaustive.read_text())
        for image in content['images']:
            del image['neg_category_ids'], image['not_exhaustive_category_ids']
        for category in content['categories']:
            del category['frequency'], category['image_count']
        (root / f'annotations/{split}.json').write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    load_tool('new_config').main(
        [f'data/custom/annotations/{s}.json' for s in ('train', 'val')])
    blocks = re.findall(r'```python\n(.*?)```',
                        (ROOT / 'README.md').read_text(), re.S)
    assert (tmp_path / 'my_config.py').read_text() in blocks


@pytest.mark.slow
@pytest.mark.parametrize('name', ['coco', 'boxes'])
def test_three_commands_lead_to_a_page(sets, run_tool, tmp_path, name):
    (tmp_path / 'sets').symlink_to(sets)
    files = [f'sets/{name}/annotations/{s}.json' for s in ('train', 'val')]
    run_tool('new_config.py', *files, '--quick', cwd=tmp_path)
    output = run_tool(
        'train.py',
        'my_config.py',
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        cwd=tmp_path)
    assert re.search(r'coco/bbox_mAP: +[\d.]+', output)
    run_tool('report.py', 'work_dirs/my_config', cwd=tmp_path)
    text = (tmp_path / 'work_dirs/my_config/report.html').read_text()
    assert 'is in COCO format' in text
    assert '<title>' in text and 'my_config' in text
