"""EqualizationLoss: settings, reductions and the contract with the host."""
import pytest
import torch
from mmdet.models.losses import CrossEntropyCustomLoss
from mmdet.registry import MODELS
from mmengine.logging import MMLogger

from eql_mmdet.datasets.category_counts import load_counts
from eql_mmdet.models.functional import equalization_loss

R, K = 16, 5


@pytest.fixture
def counts_file(tmp_path):
    path = tmp_path / 'counts.csv'
    rows = [
        '1,a,r,1,1', '2,b,f,80,99', '3,c,r,3,3', '4,d,c,40,41', '5,e,r,2,9'
    ]
    path.write_text('# num_images: 100\n'
                    'id,name,frequency,image_count,instance_count\n' +
                    '\n'.join(rows) + '\n')
    return str(path)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(R, K, generator=generator)
    return logits, torch.randint(0, K + 1, (R, ), generator=generator)


def build(source, **kwargs):
    kwargs = {'frequency_threshold': 0.05, **kwargs}
    return MODELS.build(
        dict(type='EqualizationLoss', frequency_source=source, **kwargs))


def test_threshold_protects_strictly_rarer_categories(counts_file):
    assert build(counts_file).tail_mask.tolist() == [1, 0, 1, 0, 1]
    exact = build(counts_file, frequency_threshold=0.03)
    assert exact.tail_mask.tolist() == [1, 0, 0, 0, 1]


def test_tail_ratio_chooses_the_threshold(counts_file):
    loss = build(counts_file, frequency_threshold=None, tail_ratio=0.03)
    assert loss.tail_mask.tolist() == [1, 0, 0, 0, 1]  # 3 / 126


def test_num_images_changes_the_denominator(counts_file):
    assert build(counts_file, num_images=1000).tail_mask.sum() == 4


def test_without_tail_equals_the_sigmoid_loss_of_the_host(counts_file, batch):
    logits, labels = batch
    host = CrossEntropyCustomLoss(use_sigmoid=True, num_classes=K)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weight = torch.linspace(0, 2, R)
    loss = build(
        counts_file, frequency_threshold=0., loss_weight=0.7)(
            a, labels, weight, avg_factor=R)
    expected = 0.7 * host(b, labels, weight, avg_factor=R)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize('override', [None, 'none', 'sum', 'mean'])
@pytest.mark.parametrize('weighted', [False, True])
def test_reductions_equal_arithmetic(counts_file, batch, override, weighted):
    logits, labels = batch
    loss = build(counts_file, loss_weight=2.0)
    weight = torch.linspace(0, 1, R) if weighted else torch.ones(R)
    rows = 2 * weight * equalization_loss(logits, labels,
                                          loss.tail_mask).sum(1)
    expected = {'none': rows, 'sum': rows.sum()}.get(override, rows.sum() / R)
    result = loss(
        logits,
        labels,
        weight if weighted else None,
        reduction_override=override)
    torch.testing.assert_close(result, expected)


def test_avg_factor_replaces_the_number_of_rois(counts_file, batch):
    loss = build(counts_file)
    total = loss(*batch, reduction_override='sum')
    torch.testing.assert_close(loss(*batch, avg_factor=3.0), total / 3)


@pytest.mark.parametrize('avg_factor', [None, 1.0])
def test_empty_batch_gives_zero_with_a_gradient(counts_file, avg_factor):
    logits = torch.zeros(0, K, requires_grad=True)
    loss = build(counts_file)(
        logits, torch.zeros(0).long(), avg_factor=avg_factor)
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, K)


def test_loss_runs_on_meta_and_compiles(counts_file, batch):
    loss = build(counts_file)
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(
        compiled(*batch, avg_factor=4.0), loss(*batch, avg_factor=4.0))
    logits = torch.empty(R, K, device='meta', requires_grad=True)
    labels = torch.empty(R, device='meta', dtype=torch.long)
    loss.to('meta')(logits, labels, avg_factor=4.0).backward()
    assert logits.grad.shape == (R, K)


def test_tail_mask_follows_the_model_but_not_the_checkpoint(counts_file):
    loss = build(counts_file)
    assert not loss.state_dict()
    assert loss.to('meta').tail_mask.device.type == 'meta'


def test_contract_with_the_host(counts_file, batch):
    loss = build(counts_file)
    logits, labels = batch
    host = CrossEntropyCustomLoss(use_sigmoid=True, num_classes=K)
    assert loss.get_cls_channels(K) == host.get_cls_channels(K) == K
    torch.testing.assert_close(
        loss.get_activation(logits)[:, :K],
        host.get_activation(logits)[:, :K])
    torch.testing.assert_close(
        loss.get_accuracy(logits, labels)['acc_classes'],
        host.get_accuracy(logits, labels)['acc_classes'][0])


def test_build_logs_protected_categories_and_tail_ratio(monkeypatch):
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'log', lambda level, msg: lines.append(msg))
    build('lvis_v0.5', frequency_threshold=1.77e-3)
    assert ('EqualizationLoss protects 915 of 1230 categories of lvis_v0.5 '
            '(frequency < 0.00177), tail ratio 9.09 %') in lines


@pytest.mark.parametrize('settings, message', [
    (dict(tail_ratio=0.1), 'exactly one of frequency_threshold'),
    (dict(frequency_threshold=None), 'exactly one of frequency_threshold'),
    (dict(frequency_threshold=1.5), r'in \[0, 1\], but got 1.5'),
    (dict(frequency_threshold=-0.1), r'in \[0, 1\], but got -0.1'),
    (dict(frequency_threshold=float('nan')), r'in \[0, 1\], but got nan'),
    (dict(frequency_threshold=None, tail_ratio=1.2), r'\(0, 1\], but got 1.2'),
    (dict(frequency_threshold=None, tail_ratio=1e-6), 'at least 0.00794'),
    (dict(num_images=10), 'num_images of at least 80'),
    (dict(reduction='max'), "but got 'max'"),
    (dict(frequency_source='lvis_v2'), '"lvis_v2"'),
    (dict(frequency_source='nowhere.json'), 'cannot read .*nowhere.json'),
])
def test_wrong_settings_are_named(counts_file, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**{
            'source': settings.pop('frequency_source', counts_file),
            **settings
        })


def test_wrong_number_of_categories_names_both_sides(counts_file):
    with pytest.raises(ValueError, match='num_classes=80.* 5 categories'):
        build(counts_file).get_cls_channels(80)


def test_wrong_reduction_override_is_named(counts_file, batch):
    with pytest.raises(ValueError, match="reduction_override.*'max'"):
        build(counts_file)(*batch, reduction_override='max')


def test_category_without_image_is_named(tmp_path):
    path = tmp_path / 'empty.csv'
    path.write_text('# num_images: 9\n'
                    'id,name,frequency,image_count,instance_count\n'
                    '1,cat,r,5,5\n2,unicorn,r,0,0\n')
    with pytest.raises(ValueError, match=r'unicorn \(id 2\)'):
        build(str(path))


@pytest.mark.parametrize('table, classes', [('lvis_v0.5', 1230),
                                            ('lvis_v1', 1203)])
def test_packaged_tables_are_as_long_as_the_host_knows(table, classes):
    assert len(load_counts(table).ids) == classes
