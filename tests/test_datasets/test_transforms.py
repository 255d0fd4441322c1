"""PackVerifiedInputs: the host's sample, with the sets of the image."""
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope


@pytest.fixture
def pack():
    init_default_scope('mmdet')
    return TRANSFORMS.build(dict(type='PackVerifiedInputs'))


@pytest.fixture
def results():
    return dict(
        img=np.zeros((8, 6, 3), np.uint8),
        img_path='7.jpg',
        img_id=7,
        gt_bboxes=np.array([[0., 0., 3., 3.], [1., 1., 4., 4.]]),
        gt_bboxes_labels=np.array([2, 5]),
        gt_ignore_flags=np.array([0, 1]))


@pytest.mark.parametrize('labels', [[2, 5, 9], []])
def test_sets_are_metainfo_of_the_ground_truth(pack, results, labels):
    packed = pack(dict(results, verified_labels=labels))
    truth = packed['data_samples'].gt_instances
    assert truth.verified_labels == labels and len(truth) == 1
    # It survives what is done on the way to the RoI head.
    assert truth.to('meta')[truth.labels == 2].verified_labels == labels
    host = TRANSFORMS.build(dict(type='PackDetInputs'))(results)
    assert packed['inputs'].equal(host['inputs'])
    assert truth.labels.equal(host['data_samples'].gt_instances.labels)


def test_missing_sets_are_named_with_the_image(pack, results):
    with pytest.raises(ValueError, match='none for 7.jpg.*neg_category_ids'):
        pack(results)
