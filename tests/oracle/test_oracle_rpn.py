"""The RPN learns from the anchors that the authors' learns from."""
from copy import deepcopy

import numpy as np
import oracle_rules as rules
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData


@pytest.fixture(scope='module')
def anchors(models, see):
    """List the anchors, (n, 4) a level."""
    sizes = [level.shape[-2:] for level in see(320).levels]
    return models('eql').rpn_head.prior_generator.grid_priors(
        sizes, device='cpu')


@pytest.fixture(scope='module')
def labels(models, anchors, see):
    """Label all anchors: 1, 0, or -1 for ignored."""
    boxes = InstanceData(priors=torch.cat(anchors))
    objects = see(320, training=True).samples[0].gt_instances
    found = models('eql').rpn_head.assigner.assign(boxes, objects)
    return found.gt_inds.clamp(max=1).to(torch.int8).numpy()


def test_anchors_are_equal(records, anchors):
    recorded, found = records('rpn'), torch.cat(anchors)
    assert [len(a) for a in anchors] == recorded['anchors_per_level'].tolist()
    np.testing.assert_allclose(
        found[recorded['anchor_idx'].tolist()],
        recorded['anchor_val'],
        rtol=0,
        atol=1e-4)


def test_anchors_get_the_same_labels(records, labels):
    """Every object keeps its best anchor, be its IoU below 0.3."""
    recorded = records('rpn')
    assert recorded['best_iou_of_gt'].min() < 0.3
    assert np.flatnonzero(
        labels == 1).tolist() == recorded['positive_index'].tolist()
    assert np.flatnonzero(
        labels == -1).tolist() == recorded['ignored_index'].tolist()
    assert rules.crc(labels) == recorded['labels_int8_crc32']


@pytest.fixture(scope='module')
def losses(models, see):
    """Compute the losses over all labelled anchors."""
    head = models('eql').rpn_head
    sampler = head.sampler
    head.sampler = TASK_UTILS.build(
        dict(
            type='RandomSampler',
            num=40000,
            pos_fraction=1.0,
            neg_pos_ub=-1,
            add_gt_as_proposals=False))
    seen = see(320, training=True)
    samples = deepcopy(seen.samples)
    for sample in samples:  # as the detector does: all are one category
        sample.gt_instances.labels.zero_()
    with torch.no_grad():
        found = head.loss(seen.levels, samples)
    head.sampler = sampler
    return found


@pytest.mark.parametrize('loss, name', [('loss_rpn_cls', 'loss_rpn_cls'),
                                        ('loss_rpn_loc', 'loss_rpn_bbox')])
def test_rpn_loss_is_equal(records, labels, losses, loss, name):
    """The authors divide by 256, this by the anchors sampled: both 256."""
    used = (labels >= 0).sum()
    assert used == 34657
    wanted = records('rpn')[f'{loss}_f64'] * 256 / used
    assert sum(losses[name]).item() == pytest.approx(float(wanted), rel=2e-6)
