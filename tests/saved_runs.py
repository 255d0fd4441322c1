"""Saved predictions with their images, as a finished run leaves them."""
import copy
from pathlib import Path

import numpy as np
from lvis_data import make_dataset, make_samples, write_json
from mmdet.evaluation import DumpDetResults
from PIL import Image

CONFIG = '''
test_dataloader = dict(dataset=dict(type='LVISFormatDataset',
    data_root={root!r}, ann_file='ann.json', data_prefix=dict(img='images/')))
'''


def write_run(folder: Path, images: int = 20, categories: int = 8) -> dict:
    """Write ann.json, images, and work folders a and b with predictions."""
    dataset = make_dataset(np.random.default_rng(7), images, categories)
    write_json(folder / 'ann.json', dataset)
    (folder / 'images').mkdir()
    rng = np.random.default_rng(0)
    for image in dataset['images']:
        pixels = rng.integers(0, 255, (image['height'], image['width'], 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / 'images' /
                                                      image['file_name'])
    for name, seed in (('a', 1), ('b', 2)):
        samples = make_samples(
            np.random.default_rng(seed), dataset, most=12, levels=50)
        part = folder / name / '20260101_000000' / 'vis_data'
        part.mkdir(parents=True)
        (part / 'config.py').write_text(CONFIG.format(root=str(folder)))
        save_predictions(folder / name / 'predictions.pkl', samples)
    return dataset


def save_predictions(path: Path, samples: list) -> None:
    """As ``tools/test.py --out`` does."""
    dump = DumpDetResults(out_file_path=str(path))
    dump.process({}, copy.deepcopy(samples))
    dump.evaluate(len(samples))
