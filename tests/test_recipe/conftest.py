"""The LVIS configs, read once, and their models, built once."""
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='session')
def load_config():
    """Read a config by its name; do not change it."""
    from mmengine.config import Config
    return functools.lru_cache(None)(lambda name='eql_r50_fpn_1x_lvis': Config.
                                     fromfile(ROOT / f'{name}.py'))


@pytest.fixture
def cfg(load_config):
    return load_config()


@pytest.fixture(scope='session', params=['baseline', 'eql'])
def model(request, load_config):
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    settings = load_config(f'{request.param}_r50_fpn_1x_lvis').model.copy()
    init_default_scope('mmdet')
    settings.backbone = dict(settings.backbone, init_cfg=None)
    torch.manual_seed(0)
    model = MODELS.build(settings)
    model.init_weights()
    return model.train()
