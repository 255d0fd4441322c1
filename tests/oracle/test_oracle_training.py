"""A training step on fixed proposals gives the authors' losses and gradients.

All 64 proposals are kept, and no object is added to them, so that nothing is
drawn. Losses and gradients are held to those of a float64 run.
"""
import contextlib
import functools
from types import SimpleNamespace

import numpy as np
import oracle_rules as rules
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from eql_mmdet.checkpoints.detectron2_layout import list_entries

#: The authors' names of the losses, and the host's. They take the column of
#: the last category for background in the box loss, which is not copied
#: (docs/recipe.md, 8): what counts is their loss with that column.
LOSSES = {
    'loss_cls': 'loss_cls',
    'loss_box_reg_all': 'loss_bbox',
    'loss_mask': 'loss_mask'
}
CASES = [('eql', loss) for loss in LOSSES] + [('softmax', 'loss_cls')]
FEATURES = ('p2', 'p3', 'p4', 'p5')


def assert_near(found, recorded, tolerance):
    np.testing.assert_allclose(found, recorded, rtol=0, atol=tolerance)


def keep_all(head):
    """Give a RoI head a sampler that keeps every proposal and adds none."""
    head.bbox_sampler = TASK_UTILS.build(
        dict(
            type='RandomSampler',
            num=64,
            pos_fraction=1.0,
            neg_pos_ub=-1,
            add_gt_as_proposals=False))


@contextlib.contextmanager
def overhear(*modules):
    """Collect what each of these losses is called with, once."""
    calls = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: calls.append(args))
        for module in modules
    ]
    yield calls
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(modules)


@pytest.fixture(scope='module')
def step(records, models, see):
    """Compute the losses of a model, and remember what they were given."""

    @functools.lru_cache(None)
    def run(name):
        model, seen = models(name), see(320, training=True)
        head = model.roi_head
        keep_all(head)
        levels = [f.detach().clone().requires_grad_() for f in seen.levels]
        boxes = torch.from_numpy(records('train_eql')['proposals'])
        with overhear(head.bbox_head.loss_cls, head.bbox_head.loss_bbox,
                      head.mask_head.loss_mask) as calls:
            losses = head.loss(levels, [InstanceData(bboxes=boxes)],
                               seen.samples)
        return SimpleNamespace(
            parameters=dict(model.named_parameters()),
            levels=levels,
            losses=losses,
            cls=calls[0],
            box=calls[1],
            mask=calls[2])

    return run


def test_objects_are_equal_after_resizing(records, see):
    recorded = records('train_eql')
    seen = see(320, training=True)
    objects = seen.samples[0].gt_instances
    assert_near(objects.bboxes, recorded['gt_boxes'], 1e-4)
    assert objects.labels.tolist() == recorded['gt_classes_of_gt'].tolist()
    assert rules.crc(
        seen.tensor.numpy()) == records('infer_eql_320')['tensor_crc32']


def test_proposals_get_the_same_labels_and_targets(records, step):
    recorded, found = records('train_eql'), step('eql')
    order = recorded['row_proposal']
    assert found.cls[1].tolist() == recorded['gt_classes'][order].tolist()
    assert_near(found.box[1], recorded['box_targets_fg'], 1e-4)
    assert found.mask[2].tolist() == recorded['gt_classes'][
        recorded['fg_index']].tolist()


def test_polygons_are_drawn_alike_inside_the_proposals(records, step):
    targets = step('eql').mask[1]
    recorded = np.unpackbits(records('train_eql')['mask_targets28'], axis=1)
    assert 0.1 < recorded.mean() < 0.9
    assert np.array_equal(targets.flatten(1).numpy(), recorded)


@pytest.mark.parametrize('name', ['eql', 'softmax'])
def test_outputs_in_training_are_equal(records, step, name):
    shared, recorded = records('train_eql'), records(f'train_{name}')
    found = step(name)
    logits = torch.empty_like(found.cls[0].detach())
    logits[shared['row_proposal'].tolist()] = found.cls[0].detach()
    assert logits.shape == (64, 1230 + (name == 'softmax'))
    assert_near(logits[recorded['logits_rows'].tolist()],
                recorded['logits_rows_val'], 5e-5)
    assert_near(logits.double().sum(1), recorded['logits_rowsum'], 5e-3)
    assert_near(found.box[0].detach(), shared['deltas_gt_class'], 5e-5)
    masks = found.mask[0].detach()[range(26), found.mask[2]]
    assert_near(masks.mean((1, 2)), shared['mask_logits_mean'], 5e-5)


@pytest.mark.parametrize('name, loss', CASES)
def test_loss_is_equal(records, step, name, loss):
    found = step(name).losses[LOSSES[loss]]
    assert found.item() == pytest.approx(
        float(records(f'train_{name}')[f'{loss}_f64']), rel=2e-6)


@pytest.fixture(scope='module')
def gradients(step):
    """Differentiate a loss; gradients by the authors' names."""

    @functools.lru_cache(None)
    def run(name, loss):
        found = step(name)
        wanted = dict(zip(FEATURES, found.levels))
        wanted.update((entry.detectron2, found.parameters[entry.mmdet])
                      for entry in list_entries(50)
                      if entry.mmdet.startswith('roi_head.'))
        values = torch.autograd.grad(
            found.losses[LOSSES[loss]],
            list(wanted.values()),
            retain_graph=True,
            allow_unused=True)
        return dict(zip(wanted, values))

    return run


@pytest.mark.parametrize('name, loss', CASES)
def test_gradients_are_equal(records, gradients, name, loss):
    recorded, found = records(f'train_{name}'), gradients(name, loss)
    names = records('train_eql')['param_names'].tolist()
    assert set(names) == set(found)
    norms = [
        0. if found[n] is None else found[n].double().norm().item()
        for n in names
    ]
    assert norms == pytest.approx(
        recorded[f'gradnorm_f64_{loss}'].tolist(), rel=5e-5)
    sampled = [n for n in names if f'grad_idx_{loss}_{n}' in recorded]
    assert len(sampled) >= 4
    for parameter in sampled:
        values = recorded[f'grad_f64_{loss}_{parameter}']
        index = recorded[f'grad_idx_{loss}_{parameter}']
        assert_near(found[parameter].flatten()[index.tolist()], values,
                    5e-4 * np.abs(values).max())


@pytest.mark.parametrize('name', ['eql', 'softmax'])
def test_every_category_is_pushed_alike(records, gradients, name):
    recorded = records(f'train_{name}')['grad_cls_score_bias']
    found = gradients(name, 'loss_cls')['roi_heads.box_predictor.cls_score.'
                                        'bias']
    assert_near(found, recorded, 5e-4 * np.abs(recorded).max())
