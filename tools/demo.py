#!/usr/bin/env python
"""Train and test EQL on a synthetic long-tailed set, in minutes on a CPU."""
import argparse
import os
import time
from pathlib import Path

import eql_mmdet  # isort: skip # noqa: F401, it sets how torch waits
import mmcv
import numpy as np
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from pycocotools import mask as coco_mask

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.datasets.class_config import complete_config
from eql_mmdet.host.command_line import one_line_refusals
from eql_mmdet.host.files import whole_file
from eql_mmdet.reports.pictures import (Panel, draw_contact_sheet,
                                        draw_frequency, metric_table)
from eql_mmdet.reports.run_report import Options, page_of
from eql_mmdet.reports.saved_run import find_run
from eql_mmdet.synthetic.tiny_lvis import make_tiny_lvis

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/quick/eql_tiny_lvis.py'
DATA = 'data/tiny_lvis'
PANELS = 8
MOST_OBJECTS = 8
SHOWN_SCORE = 0.3


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out', default='work_dirs/demo', help='folder of the results')
    return parser.parse_args(argv)


def main(argv=None):
    """Write the set, train, test, and leave table and pictures in a folder.

    An interrupted demo goes on from its last checkpoint, and a finished one
    is tested again.
    """
    out = Path(parse_args(argv).out).resolve()
    os.chdir(ROOT)
    start = time.perf_counter()
    with one_line_refusals('demo'):
        make_tiny_lvis(
            DATA, num_categories=60, num_train=1000, num_val=200, seed=0)
        cfg = load_config(out)
    runner = Runner.from_cfg(cfg)
    runner.train()
    # As tools/test.py --out does: the config stays as it was trained.
    runner.test_evaluator.metrics.append(
        DumpDetResults(out_file_path=str(out / 'predictions.pkl')))
    table = metric_table(runner.test())
    with whole_file(out / 'table.md') as file:
        file.write(table)
    draw_tail(runner.model.roi_head.bbox_head.loss_cls, out / 'frequency.png')
    draw_contact_sheet(make_panels(runner), out / 'predictions.png')
    write_page(out)
    report(out, table, time.perf_counter() - start)


def write_page(out):
    """Write the page about the test."""
    predictions = os.path.relpath(out / 'predictions.pkl')
    page = page_of(
        find_run(predictions, Config.fromfile), f'Demo: {Path(CONFIG).name}',
        Options(pictures=PANELS // 2, score_thr=SHOWN_SCORE))
    with whole_file(out / 'report.html') as file:
        file.write(page)


def load_config(out):
    """Read the config, and refuse a folder that another has trained in."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(out)
    cfg.resume = True
    # It is tested once, at the end.
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    complete_config(cfg)  # as the runner does before it writes it
    if (out / 'last_checkpoint').exists():
        trained = Config.fromfile(out / Path(CONFIG).name)
        if trained.to_dict() != cfg.to_dict():
            raise ValueError(
                f'"{os.path.relpath(out)}" was trained with another '
                f'{CONFIG}: move it away or name another folder with --out')
    return cfg


def draw_tail(loss, path):
    """Draw the images of every category and which ones EQL protects."""
    counts = load_counts(loss.source)
    draw_frequency(counts.image_count,
                   loss.tail_mask.cpu().numpy(), loss.frequency_threshold,
                   counts.num_images, path)


def make_panels(runner):
    """Compare ground truth and predictions of a few validation images."""
    dataset = runner.test_dataloader.dataset
    tail = runner.model.roi_head.bbox_head.loss_cls.tail_mask.cpu()
    labels = [dataset.get_cat_ids(i) for i in range(len(dataset))]
    legible = [
        i for i, found in enumerate(labels) if 0 < len(found) <= MOST_OBJECTS
    ]
    # Half of the sheet is for images with protected categories.
    with_tail = [i for i in legible if tail[labels[i]].any()]
    others = [i for i in legible if i not in with_tail]
    chosen = with_tail[:PANELS // 2] + others[:PANELS // 2]
    runner.model.eval()
    return [make_panel(runner.model, dataset, i) for i in chosen]


def make_panel(model, dataset, index):
    """Predict one image and lay its ground truth beside it."""
    names = dataset.metainfo['classes']
    info = dataset.get_data_info(index)
    height, width = info['height'], info['width']
    true = info['instances']
    found = model.test_step(pseudo_collate([dataset[index]]))[0].pred_instances
    found = found[found.scores > SHOWN_SCORE].cpu().numpy()
    return Panel(
        image=mmcv.imread(info['img_path'], channel_order='rgb'),
        true_masks=np.array([
            coco_mask.decode(
                coco_mask.merge(
                    coco_mask.frPyObjects(obj['mask'], height, width)))
            for obj in true
        ]).reshape(-1, height, width) > 0,
        true_names=[names[obj['bbox_label']] for obj in true],
        pred_masks=np.asarray(found.masks),
        pred_names=[names[label] for label in found.labels],
        pred_scores=found.scores)


def report(out, table, seconds):
    """Print the results, where they are and what to try next."""
    checkpoint = Path((out / 'last_checkpoint').read_text()).name
    folder = os.path.relpath(out)
    print(f'\n{CONFIG}, {seconds / 60:.1f} minutes\n\n{table}')
    print(f'''In {folder}:
  {checkpoint:16} the trained model
  table.md         the table above
  frequency.png    training images per category, the protected tail marked
  predictions.png  ground truth beside predictions, score > {SHOWN_SCORE}
  report.html      a page about this test, for a browser

Next, the same without Equalization Loss:
  tools/train.py configs/quick/baseline_tiny_lvis.py
or the evaluation of this model once more:
  tools/test.py {CONFIG} {folder}/{checkpoint}''')


if __name__ == '__main__':
    main()
