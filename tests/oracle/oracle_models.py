"""The records, the authors' image as a data set, and their models as ours.

All of it on the CPU and without pytest: for the tests beside this file, and
for ``tools/check_parity.py``.
"""
import contextlib
import functools
import io
import json
import runpy
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import oracle_rules as rules
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from eql_mmdet.annotations.category_counts import load_counts

ROOT = rules.HERE.parents[1]
CONFIGS = {
    'eql': 'eql_r50_fpn_1x_lvis.py',
    'softmax': 'baseline_r50_fpn_1x_lvis.py'
}


@functools.lru_cache(None)
def read_records(name):
    """Read a file of records by its name."""
    if name == 'summary':
        return json.loads((rules.HERE / 'summary.json').read_text())
    with np.load(rules.HERE / f'{name}.npz') as arrays:
        return dict(arrays)


def write_data(root):
    """Write the image and its annotations, as LVIS v0.5, into a folder."""
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


def read_config(name, data_root):
    """Read a config; only the place of the data is another."""
    cfg = Config.fromfile(ROOT / 'configs' / CONFIGS[name])
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.update(
            data_root=str(data_root),
            ann_file='lvis.json',
            data_prefix=dict(img=''))
    cfg.model.backbone.init_cfg = None
    return cfg


def load_sample(cfg, training, side):
    """Put the image through a pipeline of a config.

    Args:
        cfg: The config, with the place of the data.
        training: Take the training pipeline, without its flip.
        side: The shorter side, in pixels.
    """
    init_default_scope('mmdet')
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


def build_model(cfg, arrays):
    """Build the model of a config, with detectron2's arrays by the tool."""
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.load_state_dict(convert(arrays))
    return model.eval()


def convert(arrays):
    """Rename arrays as a user does: by the tool, from file to file."""
    tool = runpy.run_path(str(ROOT / 'tools/convert_detectron2.py'))
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
    with TemporaryDirectory() as folder:
        old, new = Path(folder, 'detectron2.pth'), Path(folder, 'mmdet.pth')
        torch.save(dict(model=tensors), old)
        with contextlib.redirect_stdout(io.StringIO()):
            tool['main']([str(old), str(new)])
        return torch.load(new, weights_only=True)['state_dict']
