"""The authors' image and weights, and what the configs make of them.

What is expensive is made once: three seconds of weights, two models, the
features of the image at a size, a test run and a training run of a model.
"""
import functools
import json
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle_rules as rules
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image

from eql_mmdet.annotations.category_counts import load_counts

HERE = Path(__file__).parent
CONFIGS = {
    'eql': 'eql_r50_fpn_1x_lvis.py',
    'softmax': 'baseline_r50_fpn_1x_lvis.py'
}


@pytest.fixture(scope='session')
def records():
    """Read a file of records by its name."""

    @functools.lru_cache(None)
    def read(name):
        if name == 'summary':
            return json.loads((HERE / 'summary.json').read_text())
        with np.load(HERE / f'{name}.npz') as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope='session')
def data_root(tmp_path_factory):
    """A folder with the image and its annotations as LVIS v0.5."""
    root = tmp_path_factory.mktemp('oracle')
    Image.fromarray(rules.paint_image()).save(root / 'oracle.png')
    counts = load_counts('lvis_v0.5')
    image = dict(
        id=1,
        width=rules.WIDTH,
        height=rules.HEIGHT,
        file_name='oracle.png',
        neg_category_ids=[],
        not_exhaustive_category_ids=[])
    categories = [
        dict(id=id_, name=name, frequency=group)
        for id_, name, group in zip(counts.ids, counts.names, counts.groups)
    ]
    content = dict(
        images=[image],
        annotations=rules.list_annotations(),
        categories=categories)
    (root / 'lvis.json').write_text(json.dumps(content))
    return root


@pytest.fixture(scope='session')
def configs(data_root):
    """Read a config; only the place of the data is another."""

    def read(name):
        cfg = Config.fromfile(rules.HERE.parents[1] / 'configs' /
                              CONFIGS[name])
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            loader.dataset.update(
                data_root=str(data_root),
                ann_file='lvis.json',
                data_prefix=dict(img=''))
        cfg.model.backbone.init_cfg = None
        return cfg

    return functools.lru_cache(None)(read)


@pytest.fixture(scope='session')
def load_sample(configs):
    """Put the image through a pipeline of the EQL config.

    ``training`` chooses the pipeline, without its flip; ``side`` is the
    shorter side.
    """

    def load(training, side):
        init_default_scope('mmdet')
        cfg = configs('eql')
        loader = cfg.train_dataloader if training else cfg.test_dataloader
        settings = deepcopy(loader.dataset)
        for step in settings.pipeline:
            if step.type == 'RandomChoiceResize':
                step.scales = [(1333, side)]
            elif step.type == 'Resize':
                step.scale = (1333, side)
            elif step.type == 'RandomFlip':
                step.prob = 0.
        return DATASETS.build(settings)[0]

    return load


@pytest.fixture(scope='session')
def weights():
    """The arrays of the EQL model."""
    return rules.make_weights('eql')


@pytest.fixture(scope='session')
def load_converted(configs, load_tool, tmp_path_factory):
    """Build the model of a config, with detectron2's arrays by the tool."""

    def load(name, arrays):
        init_default_scope('mmdet')
        folder = tmp_path_factory.mktemp(name)
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
        torch.save(dict(model=tensors), folder / 'detectron2.pth')
        load_tool('convert_detectron2').main(
            [str(folder / 'detectron2.pth'),
             str(folder / 'mmdet.pth')])
        file = torch.load(folder / 'mmdet.pth', weights_only=True)
        for path in folder.iterdir():
            path.unlink()  # 200 MB each
        model = MODELS.build(configs(name).model)
        model.load_state_dict(file['state_dict'])
        return model.eval()

    return load


@pytest.fixture(scope='session')
def eql_model(load_converted, weights):
    return load_converted('eql', weights)


@pytest.fixture(scope='session')
def softmax_model(load_converted, weights):
    return load_converted('softmax', {
        **weights,
        **rules.make_weights('softmax')
    })


@pytest.fixture(scope='session')
def models(request):
    """Choose a model by its name; one that fails to build fails once."""
    return lambda name: request.getfixturevalue(f'{name}_model')


@pytest.fixture(scope='session')
def see(models, load_sample):
    """Take the image to the features, with the EQL model.

    The softmax model differs from it in its classifier alone.
    """

    @functools.lru_cache(None)
    @torch.no_grad()
    def run(side, training=False):
        model = models('eql')
        sample = load_sample(training, side)
        pixels = sample['inputs']
        batch = model.data_preprocessor(pseudo_collate([sample]), training)
        stages = model.backbone(batch['inputs'])
        return SimpleNamespace(
            pixels=pixels.permute(1, 2, 0).numpy(),
            tensor=batch['inputs'],
            samples=batch['data_samples'],
            stages=stages,
            levels=model.neck(stages))

    return run
