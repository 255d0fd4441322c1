"""Names and shapes of the tensors, against detectron2's as written here."""
from pathlib import Path

import pytest
import torch
from detectron2_model import FULL, WIDTHS, model_shapes
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from eql_mmdet.checkpoints.detectron2_layout import (list_counters,
                                                     list_entries,
                                                     measure_widths)

CONFIGS = Path(__file__).parents[2] / 'configs'
DEPTHS = pytest.mark.parametrize('depth', [50, 101])


def build_on_meta(name, depth):
    cfg = Config.fromfile(CONFIGS / f'{name}_r50_fpn_1x_lvis.py')
    init_default_scope('mmdet')
    cfg.model.backbone.update(depth=depth, init_cfg=None)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def templates(depth):
    return {e.detectron2: e.shape for e in list_entries(depth)}


@DEPTHS
def test_names_are_those_of_detectron2(depth):
    assert set(templates(depth)) == set(model_shapes(depth))


@DEPTHS
@pytest.mark.parametrize('name, scores', [('eql', 1230), ('baseline', 1231)])
def test_names_and_shapes_are_those_of_the_configs(name, scores, depth):
    state = build_on_meta(name, depth).state_dict()
    theirs = model_shapes(depth, scores, 1230, 1230, **FULL)
    shapes = {e.mmdet: theirs[e.detectron2] for e in list_entries(depth)}
    shapes.update((e.mmdet, ()) for e in list_counters(depth))
    assert shapes == {k: tuple(v.shape) for k, v in state.items()}


@DEPTHS
def test_no_name_comes_twice(depth):
    entries = list_entries(depth) + list_counters(depth)
    assert len({e.detectron2 for e in entries}) == len(entries)
    assert len({e.mmdet for e in entries}) == len(entries)


def test_another_depth_is_refused():
    with pytest.raises(ValueError, match=r'\[50, 101\], but got 34'):
        list_entries(34)


@DEPTHS
@pytest.mark.parametrize('widths', [WIDTHS, FULL], ids=['small', 'full'])
def test_widths_are_measured(depth, widths):
    found = measure_widths(
        model_shapes(depth, 31, 30, 1, **widths), templates(depth))
    rows = dict(scores=31, boxes=30, masks=1, rpn=widths['fpn'])
    assert found == dict(widths, **rows)


@pytest.mark.parametrize('name, shape', [
    ('backbone.bottom_up.res3.0.conv1.weight', (8, 16, 3, 3)),
    ('backbone.bottom_up.res5.2.conv3.norm.running_var', (64, )),
    ('backbone.fpn_lateral4.weight', (8, 64)),
    ('proposal_generator.rpn_head.objectness_logits.bias', (15, )),
    ('roi_heads.box_head.fc1.weight', (16, 8 * 14 * 14)),
    ('roi_heads.box_predictor.bbox_pred.weight', (4 * 60 + 1, 16)),
    ('roi_heads.box_predictor.cls_score.bias', (61, )),
    ('roi_heads.mask_head.deconv.weight', ()),
    ('roi_heads.mask_head.predictor.weight', (60, 6, 1, 1, 1)),
])
def test_a_wrong_shape_is_named(name, shape):
    shapes = dict(model_shapes(), **{name: shape})
    with pytest.raises(ValueError) as caught:
        measure_widths(shapes, templates(50))
    assert f'  {name}: expected ' in str(caught.value)
    assert f'but got {shape}' in str(caught.value)


def test_all_wrong_shapes_are_listed():
    names = [
        'backbone.fpn_output3.bias', 'roi_heads.mask_head.mask_fcn4.weight'
    ]
    shapes = dict(model_shapes(), **dict.fromkeys(names, (7, )))
    with pytest.raises(ValueError) as caught:
        measure_widths(shapes, templates(50))
    assert [
        line.split(':')[0].strip()
        for line in str(caught.value).splitlines()[1:]
    ] == names
