"""VerifiedRandomSampler: the host's samples, and the sets of the image."""
import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

SETTINGS = dict(num=8, pos_fraction=0.25, add_gt_as_proposals=True)


@pytest.fixture
def image():
    """20 priors of which 5 are foreground of 2 objects."""
    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(22, 2, generator=generator)
    boxes = torch.cat([corner, corner + 9], dim=1)
    inds = torch.zeros(20).long()
    inds[:5] = torch.tensor([1, 2, 2, 1, 2])
    labels = torch.full((20, ), -1)
    labels[:5] = torch.tensor([4, 7, 7, 4, 7])
    truth = InstanceData(bboxes=boxes[20:], labels=torch.tensor([4, 7]))

    def assign():
        return AssignResult(2, inds.clone(), torch.zeros(20), labels.clone())

    return assign, InstanceData(priors=boxes[:20]), truth


@pytest.mark.parametrize('labels', [[0, 4, 7], []])
def test_samples_are_those_of_the_host_with_the_sets(image, labels):
    build = TASK_UTILS.build
    ours = build(dict(type='VerifiedRandomSampler', **SETTINGS))
    host = build(dict(type='RandomSampler', **SETTINGS))
    assign, priors, truth = image
    torch.manual_seed(3)
    expected = host.sample(assign(), priors, truth)
    truth.set_metainfo(dict(verified_labels=labels))
    torch.manual_seed(3)
    result = ours.sample(assign(), priors, truth)
    assert result.verified_labels == labels
    assert result.priors.equal(expected.priors)
    assert result.pos_gt_labels.equal(expected.pos_gt_labels)


def test_missing_sets_are_named(image):
    assign, priors, truth = image
    sampler = TASK_UTILS.build(dict(type='VerifiedRandomSampler', **SETTINGS))
    with pytest.raises(ValueError, match='training pipeline with PackVerif'):
        sampler.sample(assign(), priors, truth)
