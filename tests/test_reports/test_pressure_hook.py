"""The hook that records gradients by category while a model is trained."""
import csv
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss, SeesawLoss
from mmengine.hooks import Hook
from torch import nn

from eql_mmdet.losses.equalization import EqualizationLoss
from eql_mmdet.reports.pressure import category_pressure
from eql_mmdet.reports.pressure_hook import (CategoryPressureHook,
                                             logit_gradient)

CLASSES = ('cat', 'dog', 'emu')


class BoxHead(nn.Module):
    """As much of a head as the hook looks at."""

    def __init__(self, loss_cls):
        super().__init__()
        self.num_classes = len(CLASSES)
        self.loss_cls = loss_cls
        self.logits = nn.Parameter(torch.linspace(-2, 2, 25).view(5, 5))

    def step(self, columns):
        labels = torch.tensor([0, 1, 1, 3, 3])
        loss = self.loss_cls(self.logits[:, :columns] * 1.0, labels)
        if isinstance(loss, dict):
            loss = sum(v for k, v in loss.items() if 'loss' in k)
        loss.backward()
        return labels


@pytest.fixture
def counts_file(tmp_path):
    path = tmp_path / 'counts.csv'
    path.write_text('# num_images: 100\nid,name,frequency,image_count,'
                    'instance_count\n1,cat,f,90,90\n2,dog,r,1,1\n'
                    '3,emu,r,2,2\n')
    return str(path)


def make_runner(heads, log_dir):
    head = nn.ModuleList(heads) if len(heads) > 1 else heads[0]
    model = nn.Module()
    model.roi_head = nn.Module()
    model.roi_head.bbox_head = head
    loader = SimpleNamespace(
        dataset=SimpleNamespace(metainfo=dict(classes=CLASSES)))
    return SimpleNamespace(
        model=model, train_dataloader=loader, log_dir=str(log_dir), iter=0)


def train(hook, runner, heads, columns, iterations):
    hook.before_train(runner)
    for runner.iter in range(iterations):
        for head in heads:
            head.step(columns)
        hook.after_train_iter(runner, runner.iter)
    runner.iter = iterations
    hook.after_train(runner)


def read(log_dir):
    with open(log_dir / 'category_pressure.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_table_is_the_gradient_that_trains_the_model(tmp_path, counts_file):
    head = BoxHead(EqualizationLoss(counts_file, frequency_threshold=0.1))
    train(
        CategoryPressureHook(interval=2), make_runner([head], tmp_path),
        [head], 3, 5)
    rows = read(tmp_path)
    assert [row['iteration']
            for row in rows] == ['2'] * 3 + ['4'] * 3 + ['5'] * 3
    assert [row['name'] for row in rows[:3]] == list(CLASSES)
    labels = torch.tensor([0, 1, 1, 3, 3])
    logits = head.logits.detach()[:, :3]
    # Five steps of the same batch have left their sum.
    expected = category_pressure(head.logits.grad[:, :3] / 5, logits.sigmoid(),
                                 labels, 3)
    for steps, part in ((2, rows[:3]), (1, rows[6:])):
        for name, values in expected._asdict().items():
            found = torch.tensor([float(row[name]) for row in part])
            torch.testing.assert_close(found, steps * values)
    assert float(rows[1]['down_foreground']) == 0  # dog is protected
    assert float(rows[0]['down_foreground']) > 0


@pytest.mark.parametrize(
    'loss_cls, columns', [
        (CrossEntropyLoss(), 4),
        (SeesawLoss(num_classes=3), 5),
    ],
    ids=['softmax', 'seesaw'])
def test_losses_of_the_host_are_recorded_too(loss_cls, columns, tmp_path):
    head = BoxHead(loss_cls)
    train(
        CategoryPressureHook(interval=10), make_runner([head], tmp_path),
        [head], columns, 1)
    rows = read(tmp_path)
    assert [float(row['own_rois']) for row in rows] == [1, 2, 0]
    assert float(rows[1]['up']) > 0 and float(rows[2]['up']) == 0


@pytest.mark.parametrize('level', [-11., -17., -22., 0., 11.])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_sums_in_half_precision_are_those_in_double(level, reduction,
                                                    counts_file):
    loss_cls = EqualizationLoss(
        counts_file, frequency_threshold=0.1, reduction=reduction)
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(1024, 3, generator=generator) + level).half()
    labels = torch.randint(0, 4, (1024, ), generator=generator)
    found = {}
    for dtype in (torch.float16, torch.float64):
        leaf = logits.to(dtype).requires_grad_()
        gradient = logit_gradient(loss_cls(leaf, labels), leaf)
        found[dtype] = category_pressure(gradient, leaf.sigmoid(), labels, 3)
    for name in ('up', 'down_foreground', 'down_background'):
        half, double = (getattr(found[t], name) for t in found)
        assert (double[0] > 0).all(), name
        torch.testing.assert_close(half, double, rtol=2e-3, atol=0)


@pytest.mark.parametrize('slope', [6e4, -6e4, 1e-7])
def test_gradients_too_large_to_scale_are_taken_unscaled(slope):
    logits = torch.zeros(512, 3, dtype=torch.half, requires_grad=True)
    gradient = logit_gradient((logits.float() * slope).sum(), logits)
    expected = torch.full((512, 3), slope)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.half, torch.float])
def test_no_rois_have_no_gradient(dtype):
    logits = torch.zeros(0, 3, dtype=dtype, requires_grad=True)
    gradient = logit_gradient(logits.float().sum(), logits)
    assert gradient.shape == (0, 3) and gradient.dtype == torch.float


def make_heads(number, counts_file):
    return [
        BoxHead(EqualizationLoss(counts_file, frequency_threshold=0.1))
        for _ in range(number)
    ]


def test_stages_of_a_cascade_are_added(tmp_path, counts_file):
    tables = []
    for stages in (1, 2):
        heads, folder = make_heads(stages, counts_file), tmp_path / str(stages)
        folder.mkdir()
        train(CategoryPressureHook(1), make_runner(heads, folder), heads, 3, 1)
        tables.append([float(row['up']) for row in read(folder)])
    assert tables[1] == pytest.approx([2 * up for up in tables[0]])
    assert any(tables[0])


def test_training_is_not_changed_and_watching_ends(tmp_path, counts_file):
    heads = make_heads(2, counts_file)
    train(
        CategoryPressureHook(1), make_runner(heads[:1], tmp_path), heads[:1],
        3, 2)
    train(Hook(), make_runner(heads[1:], tmp_path), heads[1:], 3, 2)
    assert torch.equal(heads[0].logits.grad, heads[1].logits.grad)
    assert not heads[0].loss_cls._forward_hooks
    with torch.no_grad():
        heads[0].loss_cls(torch.zeros(1, 3), torch.zeros(1).long())


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match='at least 1 iteration, but got 0'):
        CategoryPressureHook(interval=0)
    runner = make_runner([nn.Linear(1, 1)], tmp_path)
    with pytest.raises(TypeError, match='roi_head.bbox_head.loss_cls'):
        CategoryPressureHook(interval=1).before_train(runner)
