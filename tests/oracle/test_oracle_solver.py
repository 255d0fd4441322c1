"""Learning rates, what is trained, and the images of the first epochs."""
import numpy as np
import pytest
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from eql_mmdet.checkpoints.detectron2_layout import list_entries


def rates(cfg, wanted):
    """Step through the schedule; the rates at these iterations."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))],
                                lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(settings, optimizer=optimizer))
        for settings in cfg.param_scheduler
    ]
    found = []
    optimizer.step()
    for iteration in range(max(wanted) + 1):
        if iteration in wanted:
            found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_learning_rates_are_equal(records, configs):
    recorded = records('summary')['learning_rate']
    assert rates(configs('eql'), set(map(int, recorded))) == pytest.approx(
        list(recorded.values()), rel=1e-9)


def test_the_same_tensors_are_trained_in_one_group(records, models, configs):
    recorded = records('summary')['solver']
    model = models('eql')
    optimizer = build_optim_wrapper(model, configs('eql').optim_wrapper)
    group, = optimizer.param_groups
    theirs, = recorded['groups']
    trained = [p for p in group['params'] if p.requires_grad]
    assert theirs == dict(
        lr=group['lr'],
        weight_decay=group['weight_decay'],
        momentum=group['momentum'],
        tensors=len(trained),
        elements=sum(p.numel() for p in trained))
    ids = set(map(id, trained))
    names = {entry.mmdet: entry.detectron2 for entry in list_entries(50)}
    # Constants of batch norm are no parameters there.
    frozen = {
        names[name]
        for name, p in model.named_parameters() if id(p) not in ids
    }
    assert {n
            for n in frozen
            if '.norm.' not in n} == set(recorded['frozen_parameters'])


class Images:
    """A data set of which only the categories are known."""

    def __init__(self, image, label, number):
        self.categories = [label[image == i].tolist() for i in range(number)]

    def get_cat_ids(self, index):
        return self.categories[index]

    def __len__(self):
        return len(self.categories)


@pytest.mark.parametrize('threshold', [0.001, 0.02, 0.1, 0.3])
def test_repeat_factors_and_the_first_epoch_are_equal(records, threshold):
    """Later epochs are drawn from one stream there, from seeds here."""
    recorded = {
        key.split('/')[1]: value
        for key, value in records('cases').items() if key.startswith('rfs/')
    }
    sampler = DATA_SAMPLERS.build(
        dict(
            type='RepeatFactorSampler',
            dataset=Images(recorded['image'], recorded['label'], 60),
            repeat_threshold=threshold,
            seed=42))
    np.testing.assert_allclose(
        sampler.repeat_factors, recorded[f'factors_{threshold}'], rtol=1e-6)
    length = recorded[f'epoch_lengths_{threshold}'][0]
    assert list(sampler) == recorded[f'indices_{threshold}'][:length].tolist()
