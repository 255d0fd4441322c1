"""The gradient of every category, by where it comes from."""
import pytest
import torch
import torch.nn.functional as F

from eql_mmdet.losses.functional import equalization_loss
from eql_mmdet.reports.pressure import category_pressure


@pytest.fixture
def batch():
    """Logits of 40 RoIs and 6 categories, labels (6 is background)."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40, 6, generator=generator)
    labels = torch.randint(0, 7, (40, ), generator=generator)
    return logits, labels


def looped(gradient, scores, labels, num_classes):
    """Add up one number after the other."""
    sums = torch.zeros(5, num_classes)
    for r, label in enumerate(labels.tolist()):
        for j in range(num_classes):
            g = float(gradient[r, j])
            if label == j:
                sums[0, j] -= g
                sums[3, j] += float(scores[r, j])
                sums[4, j] += 1
            else:
                sums[1 if label < num_classes else 2, j] += max(g, 0)
    return sums


@pytest.mark.parametrize('columns', [6, 7], ids=['sigmoid', 'softmax'])
def test_sums_are_those_of_a_plain_loop(columns):
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(30, columns, generator=generator)
    scores = torch.rand(30, 7, generator=generator)
    labels = torch.randint(0, 7, (30, ), generator=generator)
    found = torch.stack(category_pressure(gradient, scores, labels, 6))
    torch.testing.assert_close(found, looped(gradient, scores, labels, 6))


def test_sigmoid_gradient_is_all_accounted_for(batch):
    logits, labels = batch
    targets = F.one_hot(labels, 7)[:, :6]
    gradient = logits.sigmoid() - targets
    found = category_pressure(gradient, logits.sigmoid(), labels, 6)
    net = found.down_foreground + found.down_background - found.up
    torch.testing.assert_close(net, gradient.sum(dim=0))
    torch.testing.assert_close(found.own_rois, targets.sum(dim=0).float())
    # On its own RoIs a category is pushed by what its score lacks.
    torch.testing.assert_close(found.up, found.own_rois - found.own_score)


def test_equalization_loss_lifts_only_the_foreground_pressure(batch):
    logits, labels = batch
    logits.requires_grad_()
    tail = torch.tensor([1., 0, 1, 0, 0, 1])

    def pressure(mask):
        loss = equalization_loss(logits, labels, mask).sum()
        gradient, = torch.autograd.grad(loss, logits)
        return category_pressure(gradient, logits.sigmoid(), labels, 6)

    without, with_tail = pressure(torch.zeros(6)), pressure(tail)
    torch.testing.assert_close(with_tail.down_foreground,
                               without.down_foreground * (1 - tail))
    assert (without.down_foreground > 0).all()
    torch.testing.assert_close(with_tail.up, without.up)
    torch.testing.assert_close(with_tail.down_background,
                               without.down_background)


def test_no_roi_gives_zeros():
    found = category_pressure(
        torch.zeros(0, 3), torch.zeros(0, 3),
        torch.zeros(0).long(), 3)
    assert not torch.stack(found).any()


@pytest.mark.parametrize('gradient, scores, labels', [((4, 2), (4, 3), 4),
                                                      ((4, 3), (4, 2), 4),
                                                      ((4, 3), (4, 3), 5),
                                                      ((4, 3), (3, 3), 4)])
def test_wrong_shapes_are_refused(gradient, scores, labels):
    with pytest.raises(ValueError, match='expected gradient and scores'):
        category_pressure(
            torch.zeros(gradient), torch.zeros(scores),
            torch.zeros(labels).long(), 3)


def test_it_runs_where_nothing_can_be_read_back():
    found = category_pressure(
        torch.zeros(4, 3, device='meta'), torch.zeros(4, 3, device='meta'),
        torch.zeros(4, device='meta').long(), 3)
    assert found.up.shape == (3, )
