"""One field of a good file is changed at random: nothing goes on silently.

Counting, training and evaluation each give the numbers of the good file, or
one sentence with file and place before the first image, or other numbers
where the field is used and the new value is a possible one. What is odd and
still used is said in the log.
"""
import contextlib
import io
import json
import logging
import math
from copy import deepcopy
from numbers import Number

import pytest
import torch
from class_project import NAMES, SMALL, write_split
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from eql_mmdet.annotations.category_counts import load_counts
from eql_mmdet.annotations.findings import list_findings
from eql_mmdet.datasets.format_datasets import LVISFormatDataset
from eql_mmdet.evaluation.coco_metric import COCOEvalMetric
from eql_mmdet.evaluation.lvis_metric import LVISEvalMetric
from eql_mmdet.host.logs import warn_each

SIZE = 96
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs')
]
VALUES = [
    None, '', 'x', '1', '9e999', -1, 0, 1, 2, 10, 20, 1.5, 2.0, True, False,
    10**30, math.nan, math.inf, [], {}, [1], [10, 20], [[1]], ['a'],
    [1, 2, 3, 4], [0, 0, 0, 0], [5, 5, 20, 0.5], [-5, -5, 3, 3],
    [1, 2, -3, 4], [1e9, 0, 5, 5], [1, 2, 3, None], [1, 2, 3],
    [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, None]], [list('123456')],
    [[8, 8, 30, 8, 30, 30]], [[8, 8, 30, 8, 30, 30, 9]], [[], [[]]],
    dict(size=[SIZE, SIZE], counts='abc'),
    dict(size=[SIZE, SIZE], counts=[SIZE * SIZE]),
    dict(size=[SIZE, SIZE], counts=[0, 200, SIZE * SIZE - 200]),
    dict(size=[SIZE, SIZE], counts=[-1, 200, SIZE * SIZE - 199]),
    dict(size=[5, 5], counts=[20, 5]), dict(size=[SIZE, SIZE])
]  # yapf: disable
#: What nobody reads: any value, and still the same numbers everywhere.
UNUSED = {
    'info', 'licenses', 'extra', 'score', 'image_count', 'date_captured',
    'coco_url', 'supercategory'
}
SETTINGS = dict(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck))


def is_number(value):
    return isinstance(
        value, Number) and not isinstance(value, bool) and math.isfinite(value)


def is_box(value):
    return (isinstance(value, list) and len(value) == 4
            and all(map(is_number, value)) and min(value[2:]) >= 1
            and value[0] < SIZE and value[1] < SIZE)


def is_listed(value, kind, content):
    return is_number(value) and value in [i['id'] for i in content[kind]]


def is_mask(value):
    return value in ([[8, 8, 30, 8, 30, 30]], [[8, 8, 30, 8, 30, 30, 9]],
                     dict(
                         size=[SIZE, SIZE], counts=[0, 200,
                                                    SIZE * SIZE - 200]))


#: Key -> whether a value is one that a user may have meant.
POSSIBLE = dict(
    id=lambda v, _: is_number(v) and v == int(v),
    name=lambda v, _: isinstance(v, (str, int, float)) and v == v,
    frequency=lambda v, _: v in ('r', 'c', 'f'),
    file_name=lambda v, _: isinstance(v, str),
    height=lambda v, _: is_number(v) and v >= 1,
    width=lambda v, _: is_number(v) and v >= 1,
    neg_category_ids=lambda v, _: isinstance(v, list),
    not_exhaustive_category_ids=lambda v, _: isinstance(v, list),
    image_id=lambda v, content: is_listed(v, 'images', content),
    category_id=lambda v, content: is_listed(v, 'categories', content),
    bbox=lambda v, _: is_box(v),
    area=lambda v, _: v is None or (is_number(v) and v > 0),
    iscrowd=lambda v, _: v in (0, 1),
    ignore=lambda v, _: v in (0, 1),
    segmentation=lambda v, _: is_mask(v),
    images=lambda v, _: False,
    categories=lambda v, _: False,
    annotations=lambda v, _: v is None,
)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp('mutations')
    path = write_split(
        root,
        'train', [(0, 1)] * 3 + [(0, 1, 2)],
        neg_category_ids=[],
        not_exhaustive_category_ids=[])
    content = json.loads(path.read_text())
    init_default_scope('mmdet')
    return root, content


def count(path, root, content):
    counts = load_counts(path)
    warn_each(list_findings(path, counts.findings))  # as the losses do
    return list(
        zip(counts.names, counts.image_count.tolist(),
            counts.instance_count.tolist()))


def build_dataset(path, root):
    return LVISFormatDataset(
        ann_file=path,
        data_prefix=dict(img=str(root / 'train')),
        metainfo=dict(classes=NAMES),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=deepcopy(PIPELINE))


def train(path, root, content):
    dataset = build_dataset(path, root)
    samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
    return sorted((s.img_id, *sorted(
        (label, *box.tolist(), int(mask.sum()))
        for label, box, mask in zip(s.gt_instances.labels.tolist(
        ), s.gt_instances.bboxes.tensor, s.gt_instances.masks.masks)))
                  for s in samples)


def evaluate(metric, path, content):
    metric = metric(path, metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=NAMES)
    with contextlib.redirect_stdout(io.StringIO()):
        metric.process({}, perfect_predictions(content))
        return metric.evaluate(len(content['images']))


def evaluate_lvis(path, root, content):
    return evaluate(LVISEvalMetric, path, content)


def evaluate_coco(path, root, content):
    return evaluate(COCOEvalMetric, path, content)


def perfect_predictions(content):
    samples = []
    for image in content['images']:
        mine = [
            a for a in content['annotations'] if a['image_id'] == image['id']
        ]
        boxes = torch.tensor([a['bbox'] for a in mine]).float()
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.zeros(len(mine), SIZE, SIZE).bool()
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = True
        labels = torch.tensor([a['category_id'] // 10 - 1 for a in mine])
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(SIZE, SIZE),
                pred_instances=dict(
                    bboxes=boxes,
                    labels=labels,
                    scores=torch.full((len(mine), ), 0.9),
                    masks=masks)))
    return samples


@st.composite
def mutations(draw):
    """Kind, number and key of a field, and what is done to it."""
    kind = draw(st.sampled_from(['images', 'categories', 'annotations', '']))
    number = draw(st.integers(0, 2))
    keys = [k for k in (*POSSIBLE, *sorted(UNUSED)) if k not in (
        'images', 'categories', 'annotations')]  # yapf: disable
    key = draw(
        st.sampled_from(keys if kind else [
            'images', 'categories', 'annotations', 'info', 'licenses', 'extra'
        ]))
    return kind, number, key, draw(
        st.sampled_from(['set', 'set', 'set',
                         'remove'])), draw(st.sampled_from(VALUES))


def mutate(content, mutation):
    kind, number, key, what, value = mutation
    content = deepcopy(content)
    place = content[kind][number] if kind else content
    if what == 'remove':
        place.pop(key, None)
    else:
        place[key] = value
    return content


def is_possible(content, mutation):
    kind, number, key, what, value = mutation
    place = content[kind][number] if kind else content
    if what == 'remove':
        value = None
    if key in place or key in ('area', 'iscrowd', 'ignore'):
        return POSSIBLE[key](value, content)
    return key not in ('segmentation', 'id')  # belongs to another kind


class Log(logging.Handler):
    """Keep what is said."""

    def __init__(self):
        super().__init__()
        self.text = ''

    def emit(self, record):
        self.text += record.getMessage()


@pytest.mark.slow
@pytest.mark.parametrize(
    'work', [count, train, evaluate_lvis, evaluate_coco],
    ids=lambda f: f.__name__)
@settings(max_examples=200, **SETTINGS)
@given(mutation=mutations())
def test_a_changed_field_is_used_refused_or_said(project, work, mutation):
    root, content = project
    path = root / 'annotations/mutated.json'
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(content))
    good = work(str(path), root, content)
    path.write_text(json.dumps(mutate(content, mutation)))
    log, logger = Log(), MMLogger.get_current_instance()
    logger.addHandler(log)
    try:
        found = work(str(path), root, content)
    except (TypeError, ValueError) as error:
        assert 'mutated.json' in str(error), error
        assert mutation[2] not in UNUSED, error
        return
    finally:
        logger.removeHandler(log)
    if found != good and repr(found) != repr(good):
        assert mutation[2] not in UNUSED
        assert is_possible(content, mutation) or 'mutated.json' in log.text


@settings(max_examples=25, **SETTINGS)
@given(mutation=mutations())
def test_a_training_step_works_on_what_is_not_refused(project, model,
                                                      mutation):
    root, content = project
    path = root / 'annotations/mutated.json'
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(mutate(content, mutation)))
    try:
        dataset = build_dataset(str(path), root)
    except (TypeError, ValueError) as error:
        assert 'mutated.json' in str(error)
        return
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    batch = model.data_preprocessor(batch, training=True)
    losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)


@pytest.fixture(scope='module')
def model():
    text = SMALL + '''
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']
'''
    cfg = Config.fromstring(text, '.py')
    cfg.model.roi_head.bbox_head.num_classes = 3
    cfg.model.roi_head.mask_head.num_classes = 3
    torch.manual_seed(0)
    return MODELS.build(cfg.model).train()
