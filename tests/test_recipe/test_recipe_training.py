"""The LVIS configs train: real files, real model, the host's tool."""
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.host.launch import load_host_tool

ROOT = Path(__file__).parents[2] / 'configs'


@HOOKS.register_module()
class KeepRates(Hook):
    """Keep the learning rate and the losses of every iteration."""
    log = []

    def before_run(self, runner):
        self.log.clear()

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        rate, = runner.optim_wrapper.get_lr()['lr']
        batch = data_batch['inputs']
        KeepRates.log.append((rate, batch, outputs))


@pytest.fixture
def train(tiny_root, tmp_path, monkeypatch):
    """Train a config of ours for two iterations on the synthetic images."""
    root = tmp_path / 'data/lvis_v0.5'
    shutil.copytree(tiny_root / 'data/tiny_lvis/train', root / 'train2017')
    (root / 'annotations').mkdir()
    content = json.loads(
        (tiny_root /
         'data/tiny_lvis/annotations/tiny_lvis_train.json').read_text())
    counts = load_counts('lvis_v0.5')
    content['categories'] = [
        dict(id=id_, name=name, frequency=group)
        for id_, name, group in zip(counts.ids, counts.names, counts.groups)
    ]
    for split in ('train', 'val'):
        path = root / f'annotations/lvis_v0.5_{split}.json'
        path.write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        config = tmp_path / 'config.py'
        config.write_text(f"_base_ = '{ROOT / name}.py'\n"
                          'model = dict(backbone=dict(init_cfg=None))\n'
                          "custom_hooks = [dict(type='KeepRates')]\n")
        tool = load_host_tool('train')
        monkeypatch.setattr(
            'sys.argv',
            [
                'train',
                str(config),
                '--work-dir',
                str(tmp_path / 'work'),
                *options,
                '--cfg-options',
                'randomness.seed=0',
                'train_cfg.max_iters=2',
                'train_dataloader.num_workers=0',
                'train_dataloader.persistent_workers=False',
                'val_cfg=None',
                'val_dataloader=None',
                'val_evaluator=None',
                # 512 RoIs of 1,230 masks are for a GPU.
                'model.train_cfg.rcnn.sampler.num=16',
                'train_dataloader.dataset.pipeline.2.scales=[(224,160)]'
            ])
        tool.main()
        return list(KeepRates.log)

    return run


def numbers(outputs):
    return {
        name: float(value)
        for name, value in outputs.items() if torch.is_tensor(value)
    }


@pytest.mark.slow
@pytest.mark.parametrize('name, options, factor', [
    ('baseline_r50_fpn_1x_lvis', (), 1),
    ('eql_rfs_r50_fpn_1x_lvis', ('--auto-scale-lr', ), 2 / 16),
    ('eql_cas_r50_fpn_1x_lvis', (), 1),
])
def test_config_trains_and_its_rate_follows_the_batch_when_asked(
        train, name, options, factor):
    log = train(name, *options)
    assert [rate for rate, _, _ in log] == pytest.approx(
        [0.02 * factor * (0.001 + 0.999 * i / 1000) for i in range(2)])
    for _, batch, outputs in log:
        assert len(batch) == 2
        assert all(map(math.isfinite, numbers(outputs).values()))
        # A predictor near zero says 0.5 of every pixel.
        assert numbers(outputs)['loss_mask'] == pytest.approx(
            math.log(2), abs=0.05)
