"""The quick config learns the same from the definition and the fused loss."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from eql_mmdet.losses.functional import equalization_loss

CONFIG = Path(__file__).parents[2] / 'configs/quick/eql_tiny_lvis.py'
STEPS, IMAGES = 6, 4


def train(root):
    """Train a few steps as the config says; losses by step."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    set_random_seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    # The config warms up; at its full rate rounding would grow into chance.
    cfg.optim_wrapper.optimizer.lr *= cfg.param_scheduler[0].start_factor
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    history = []
    for step in range(STEPS):
        data = pseudo_collate(
            [dataset[step * IMAGES + i] for i in range(IMAGES)])
        log = model.train_step(data, optim_wrapper)
        history.append({k: float(v) for k, v in log.items() if 'loss' in k})
    return history


@pytest.mark.slow
def test_quick_config_trains_to_the_same_losses(tiny_root, monkeypatch):
    monkeypatch.chdir(tiny_root)
    fused = train(tiny_root)
    calls = []

    def definition(logits, labels, tail_mask, image_index, exclude_background):
        calls.append(len(logits))
        assert image_index is None and exclude_background
        return equalization_loss(logits, labels, tail_mask).sum(dim=1)

    monkeypatch.setattr('eql_mmdet.losses.equalization.equalization_roi_loss',
                        definition)
    expected = train(tiny_root)
    assert len(calls) == STEPS and fused[0] != fused[-1]
    for ours, theirs in zip(fused, expected):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert torch.isfinite(torch.tensor(fused[-1]['loss_cls']))
