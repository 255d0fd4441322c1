"""Training of the head: the order of RoIs, the schedule, a plain loop."""
import itertools
import math

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmengine.model import BaseModel
from torch import nn

from eql_mmdet.heads.bbox_head import EQLBBoxHead
from eql_mmdet.retraining.classifier import (Schedule, batches, check_schedule,
                                             drawn_images, head_losses,
                                             learning_rate, retrain,
                                             save_detector, start_head)
from eql_mmdet.retraining.feature_files import ROI, Features

K, SHAPE, COUNTS = 4, (3, 2, 2), [6, 0, 3, 8]
SCHEDULE = Schedule(steps=12, rois_per_step=5, lr=0.1)


class Detector(nn.Module):
    """As much of one as training a head needs."""

    def __init__(self, head):
        super().__init__()
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = head
        self.frozen = nn.Linear(2, 2)

    def parse_losses(self, losses):
        return BaseModel.parse_losses(self, losses)


def make_head(kind=Shared2FCBBoxHead, **kwargs):
    return kind(
        in_channels=3,
        fc_out_channels=7,
        roi_feat_size=2,
        num_classes=K,
        **kwargs)


def eql_head(tmp_path):
    path = tmp_path / 'counts.csv'
    path.write_text('# num_images: 100\n'
                    'id,name,frequency,image_count,instance_count\n' +
                    ''.join(f'{i},c{i},c,{n},{n}\n'
                            for i, n in enumerate((1, 5, 50, 90), 1)))
    return make_head(
        EQLBBoxHead,
        loss_cls=dict(
            type='EqualizationLoss',
            frequency_source=str(path),
            frequency_threshold=0.1))


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    total = sum(COUNTS)
    rois = np.zeros(total, ROI)
    rois['label'] = rng.integers(K + 1, size=total)
    rois['label_weight'] = 1
    rois['bbox_weight'] = (rois['label'] < K)[:, None]
    rois['bbox_target'] = rng.normal(size=(total, 4))
    values = rng.normal(size=(total, *SHAPE)).astype('float32')
    return Features(values, rois, np.concatenate([[0], np.cumsum(COUNTS)]))


def plain_loop(head, features, images):
    """The same training, written down."""
    rows = [
        row for i in images
        for row in range(features.offsets[i], features.offsets[i + 1])
    ]
    parameters = list(head.parameters())
    momenta = [torch.zeros_like(p) for p in parameters]
    for step in range(12):
        at = rows[5 * step:5 * step + 5]
        assert len(at) == 5
        rois = features.rois[at]
        losses = head.loss(
            *head(torch.tensor(features.values[at])),
            *(torch.tensor(rois[name])
              for name in ('roi', 'label', 'label_weight', 'bbox_target',
                           'bbox_weight')))
        grads = torch.autograd.grad(losses['loss_cls'] + losses['loss_bbox'],
                                    parameters)
        rate = 0.1 * min(
            1, (step + 1) / 2) * (0.5 + 0.5 * math.cos(math.pi * step / 12))
        with torch.no_grad():
            for p, g, m in zip(parameters, grads, momenta):
                m.mul_(0.9).add_(g + 1e-4 * p)
                p.sub_(rate * m)


@pytest.mark.parametrize('kind', ['softmax', 'eql'])
def test_training_is_the_plain_loop(features, tmp_path, kind):
    heads = [
        make_head() if kind == 'softmax' else eql_head(tmp_path)
        for _ in range(2)
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    before = {k: v.clone() for k, v in heads[0].state_dict().items()}
    images = [3, 1, 0, 2, 2] * 9
    retrain(Detector(heads[0]), features, iter(images), SCHEDULE)
    plain_loop(heads[1], features, images)
    for name, value in heads[1].state_dict().items():
        torch.testing.assert_close(heads[0].state_dict()[name], value)
        assert not torch.equal(value, before[name])


def test_only_the_head_is_trained(features):
    model = Detector(make_head())
    before = model.frozen.weight.clone()
    retrain(model, features, itertools.cycle(range(4)), SCHEDULE)
    assert torch.equal(model.frozen.weight, before)
    assert model.frozen.weight.grad is None


def test_training_overfits_the_features(features):
    model = Detector(make_head())
    schedule = Schedule(steps=400, rois_per_step=17, lr=0.1)
    first = sum(value.item() for name, value in head_losses(
        model.roi_head.bbox_head, features, np.arange(17)).items()
                if 'loss' in name)
    loss = retrain(model, features, itertools.cycle(range(4)), schedule)
    assert loss < 0.1 * first


def test_half_features_are_trained_as_float32(features):
    half = features._replace(values=features.values.astype('float16'))
    head = make_head()
    expected = head_losses(head,
                           half._replace(values=half.values.astype('float32')),
                           np.arange(5))
    found = head_losses(head, half, np.arange(5))
    assert found['loss_cls'].dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_stops(features):
    features.values[:] = np.inf
    with pytest.raises(ValueError, match='loss is nan in step 1; try a small'):
        retrain(Detector(make_head()), features, [0, 2, 3], SCHEDULE)


def test_batches_leave_out_no_roi_and_keep_the_order():
    offsets = np.array([0, 6, 6, 9, 17])
    found = list(batches(offsets, [3, 1, 0, 2, 3], 5))
    assert [len(rows) for rows in found] == [5] * 5
    assert np.concatenate(found).tolist() == [
        *range(9, 17), *range(6), *range(6, 9), *range(9, 17)
    ]


class Sampler(list):
    """As the host's: another order in each epoch."""

    def set_epoch(self, epoch):
        self[:] = [10 * epoch, 10 * epoch + 1]


def test_images_are_drawn_epoch_by_epoch():
    drawn = list(itertools.islice(drawn_images(Sampler([7, 8])), 5))
    assert drawn == [0, 1, 10, 11, 20]


def test_a_sampler_without_end_needs_no_epochs():
    assert list(itertools.islice(drawn_images(itertools.count()),
                                 3)) == [0, 1, 2]


def test_a_sampler_without_images_is_refused():
    with pytest.raises(ValueError, match='list draws no image'):
        next(drawn_images([]))


def test_learning_rate_rises_and_falls():
    schedule = Schedule(steps=1000, lr=2.0)
    rates = [learning_rate(step, schedule) for step in range(1000)]
    assert rates[0] == pytest.approx(2 / 101)
    assert np.argmax(rates) == 100 and 1.9 < max(rates) < 2
    assert rates[500] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4
    assert learning_rate(0, Schedule(steps=1, lr=2.0)) == 2


@pytest.mark.parametrize('change', [
    dict(steps=0),
    dict(rois_per_step=-1),
    dict(lr=0.0),
    dict(lr=math.nan),
    dict(momentum=1.0),
    dict(momentum=-0.1),
    dict(weight_decay=-1e-4)
])
def test_senseless_schedules_are_refused(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f'{name}.*but got {value}'):
        check_schedule(Schedule(**change))


def test_the_seed_decides_the_classifier():
    heads = [make_head() for _ in range(3)]
    for head, seed in zip(heads, (0, 0, 1)):
        start_head(head, seed)
    same, other = heads[1].fc_cls.weight, heads[2].fc_cls.weight
    assert torch.equal(heads[0].fc_cls.weight, same)
    assert not torch.equal(other, same)
    assert same.std().item() == pytest.approx(0.01, rel=0.3)


def test_a_checkpoint_holds_the_model_and_replaces_nothing(tmp_path):
    model, path = Detector(make_head()), tmp_path / 'new' / 'a.pth'
    save_detector(path, model, dict(dataset_meta=dict(classes=('a', ))))
    found = torch.load(path, weights_only=True)
    assert found['meta']['dataset_meta'] == dict(classes=('a', ))
    torch.testing.assert_close(
        found['state_dict'], dict(model.state_dict()), rtol=0, atol=0)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match='already there'):
        save_detector(path, model, {})
    assert path.read_bytes() == before
