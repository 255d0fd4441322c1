"""Calibration in the heads: only at test time, once, and for a softmax."""
import copy
import json
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from eql_mmdet.datasets.class_config import complete_config

K = 6
SHAPE = dict(num_classes=K, in_channels=4, roi_feat_size=1, fc_out_channels=8)
COUNTS = (400, 90, 30, 8, 4, 1)
META = dict(img_shape=(300, 400), ori_shape=(150, 200), scale_factor=(2., 2.))
CONFIG = ConfigDict(
    score_thr=1e-4, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50)
QUICK = Path(__file__).parents[2] / 'configs/quick/baseline_tiny_lvis.py'


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'counts.csv'
    rows = [f'{i + 1},c{i},f,{n},{n}' for i, n in enumerate(COUNTS)]
    path.write_text('# num_images: 500\n'
                    'id,name,frequency,image_count,instance_count\n' +
                    '\n'.join(rows) + '\n')
    return str(path)


@pytest.fixture
def boxes(tmp_path):
    """An annotation file: categories spread out, in a line, in one place."""
    generator = torch.Generator().manual_seed(0)
    annotations = []
    for label in range(K):
        for i in range(12):
            x, y = (80 * torch.rand(2, generator=generator)).tolist()
            x, y = (x, y) if label < 2 else (x, 5) if label < 4 else (5, 5)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i // (1 + label),
                    category_id=label + 1,
                    bbox=[x, y, 9, 9],
                    area=81))
    content = dict(
        images=[
            dict(id=i, file_name=f'{i}.png', height=96, width=96)
            for i in range(12)
        ],
        categories=[dict(id=k + 1, name=f'c{k}') for k in range(K)],
        annotations=annotations)
    path = tmp_path / 'train.json'
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(params=['norcal', 'logit_adjustment', 'fracal'])
def calibration(request, table, boxes):
    if request.param == 'fracal':
        return dict(type='fracal', frequency_source=boxes)
    name = 'gamma' if request.param == 'norcal' else 'tau'
    return {'type': request.param, name: 0.6, 'frequency_source': table}


def build(name='LargeVocabBBoxHead', **kwargs):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    head = MODELS.build(dict(type=name, **{**SHAPE, **kwargs}))
    head.init_weights()
    return head


def head_outputs(rows):
    generator = torch.Generator().manual_seed(rows)
    roi = torch.rand(rows, 5, generator=generator) * 200
    roi[:, 3:] += roi[:, 1:3]
    return dict(
        roi=roi,
        cls_score=2 * torch.randn(rows, K + 1, generator=generator),
        bbox_pred=torch.randn(rows, 4 * K, generator=generator),
        img_meta=META)


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for key in wanted.keys():
        torch.testing.assert_close(got[key], wanted[key])


TEST_CONFIGS = {
    'served': CONFIG,
    'all detections': dict(CONFIG, max_per_img=-1),
    'soft-NMS': dict(CONFIG, nms=dict(type='soft_nms', iou_threshold=0.4)),
    'raw, for test-time augmentation': None,
}  # yapf: disable


@pytest.mark.parametrize('rows', [0, 1, 60])
@pytest.mark.parametrize('config', TEST_CONFIGS.values(), ids=TEST_CONFIGS)
def test_detections_are_the_hosts_of_calibrated_logits(calibration, rows,
                                                       config):
    ours, host = build(calibration=calibration), build('Shared2FCBBoxHead')
    found = head_outputs(rows)
    options = dict(rescale=True, rcnn_test_cfg=config and ConfigDict(config))
    got = ours._predict_by_feat_single(**found, **options)
    found['cls_score'] = ours.calibration(found['cls_score'])
    assert_same(got, host._predict_by_feat_single(**found, **options))


def test_raw_scores_are_calibrated_once(calibration):
    head, found = build(calibration=calibration), head_outputs(30)
    raw = head._predict_by_feat_single(**found).scores
    once = head.calibration(found['cls_score'])
    torch.testing.assert_close(raw, once.softmax(dim=1))
    twice = head.calibration(once).softmax(dim=1)
    assert not torch.allclose(raw, twice, rtol=0.05)
    assert raw.shape == (30, K + 1)


def test_half_precision_logits_lose_nothing_more(calibration):
    head, found = build(calibration=calibration), head_outputs(30)
    found['cls_score'] = found['cls_score'].half()
    raw = head._predict_by_feat_single(**found).scores
    assert raw.dtype == torch.float32
    found['cls_score'] = found['cls_score'].float()
    assert torch.equal(raw, head._predict_by_feat_single(**found).scores)


def test_rare_categories_gain_on_frequent_ones_everywhere(table):
    """Among the categories of a RoI; so the ranking across them changes."""
    found = head_outputs(30)
    plain = build()._predict_by_feat_single(**found).scores
    head = build(
        calibration=dict(type='norcal', gamma=0.6, frequency_source=table))
    ratio = head._predict_by_feat_single(**found).scores / plain
    assert (ratio[:, :K].diff(dim=1) > 0).all()


def test_the_map_of_one_category_is_not_monotone(table):
    """The others of the RoI decide too: the order within it may change."""
    found = head_outputs(60)
    plain = build()._predict_by_feat_single(**found).scores
    head = build(
        calibration=dict(type='norcal', gamma=0.6, frequency_source=table))
    scores = head._predict_by_feat_single(**found).scores
    assert any(not torch.equal(plain[:, k].argsort(), scores[:, k].argsort())
               for k in range(K))


def losses_of(head):
    torch.manual_seed(3)
    cls_score, bbox_pred = head(torch.randn(9, 4, 1, 1))
    losses = head.loss(
        cls_score,
        bbox_pred,
        rois=torch.zeros(9, 5),
        labels=torch.tensor([0, 1, 2, 3, 4, 5, K, K, K]),
        label_weights=torch.ones(9),
        bbox_targets=torch.zeros(9, 4),
        bbox_weights=torch.ones(9, 4))
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    return losses, head.fc_cls.weight.grad


def test_training_does_not_change_by_a_bit(calibration):
    (wanted, gradient), (got,
                         ours) = map(losses_of,
                                     (build(), build(calibration=calibration)))
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(torch.as_tensor(got[key]), torch.as_tensor(value))
    assert torch.equal(ours, gradient)


def test_checkpoints_do_not_change(calibration):
    plain, ours = build(), build(calibration=calibration)
    assert plain.state_dict().keys() == ours.state_dict().keys()
    ours.load_state_dict(plain.state_dict(), strict=True)
    copied = copy.deepcopy(ours).to(torch.float64)
    assert copied.calibration.shift.dtype == torch.float64
    assert torch.equal(copied.calibration.shift.float(),
                       ours.calibration.shift)


def test_none_switches_it_off():
    found = head_outputs(30)
    head = build(calibration=None)
    assert head.calibration is None
    assert torch.equal(
        head._predict_by_feat_single(**found).scores,
        found['cls_score'].softmax(dim=1))


def losses(table):
    counted = dict(frequency_source=table, frequency_threshold=0.05)
    return {
        'CrossEntropyLoss': dict(),
        'CrossEntropyCustomLoss': dict(num_classes=K),
        'SoftmaxEqualizationLoss': dict(gamma=0.9, **counted),
        'EqualizationLoss': counted,
        'SeesawLoss': dict(num_classes=K),
        'EQLV2Loss': dict(num_classes=K),
    }


@pytest.mark.parametrize('name, loss', [
    ('LargeVocabBBoxHead', 'CrossEntropyLoss'),
    ('LargeVocabBBoxHead', 'CrossEntropyCustomLoss'),
    ('LargeVocabBBoxHead', 'SoftmaxEqualizationLoss'),
    ('EQLBBoxHead', 'SoftmaxEqualizationLoss'),
])
def test_every_softmax_of_k_and_background_is_served(name, loss, table,
                                                     calibration):
    head = build(
        name,
        calibration=calibration,
        loss_cls=dict(type=loss, **losses(table)[loss]))
    found = head_outputs(20)
    torch.testing.assert_close(
        head._predict_by_feat_single(**found).scores,
        head.calibration(found['cls_score']).softmax(dim=1))


@pytest.mark.parametrize('name, loss, extra, channels', [
    ('EQLBBoxHead', 'EqualizationLoss', dict(), K),
    ('LargeVocabBBoxHead', 'EqualizationLoss', dict(), K),
    ('LargeVocabBBoxHead', 'SeesawLoss', dict(), K + 2),
    ('LargeVocabBBoxHead', 'EQLV2Loss', dict(), K + 1),
    ('LargeVocabBBoxHead', 'CrossEntropyLoss', dict(use_sigmoid=True), K + 1),
    ('LargeVocabBBoxHead', 'CrossEntropyCustomLoss', dict(use_sigmoid=True),
     K),
])
def test_other_losses_are_refused_at_build(name, loss, extra, channels, table):
    loss = dict(type=loss, **losses(table)[loss], **extra)
    with pytest.raises(
            ValueError,
            match=f'softmax over the {K} categories and background, {K + 1} '
            f'channels, but {loss["type"]} has {channels} channels'
            '.*calibration=None'):
        build(
            name,
            loss_cls=loss,
            calibration=dict(type='norcal', gamma=0.6, frequency_source=table))


def test_k_and_one_sigmoids_are_no_softmax(table, monkeypatch):
    """As those of EQL v2, whose last one says whether there is an object."""
    from mmdet.models.losses import CrossEntropyCustomLoss
    monkeypatch.setattr(CrossEntropyCustomLoss, 'get_activation',
                        lambda self, cls_score: cls_score.sigmoid())
    with pytest.raises(ValueError, match='7 channels that are no softmax'):
        build(
            loss_cls=dict(type='CrossEntropyCustomLoss', num_classes=K),
            calibration=dict(type='norcal', gamma=0.6, frequency_source=table))


@pytest.fixture
def cascade(table):
    torch.manual_seed(0)
    init_default_scope('mmdet')
    cfg = get_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64])
    for head in cfg.model.roi_head.bbox_head:
        head.update(
            type='LargeVocabBBoxHead',
            num_classes=K,
            fc_out_channels=32,
            calibration=dict(type='norcal', gamma=0.6, frequency_source=table))
    cfg.model.test_cfg.rcnn.update(score_thr=1e-4, max_per_img=10**5)
    return cfg


def test_a_cascade_calibrates_the_mean_logits_once(cascade):
    model = MODELS.build(cascade.model)
    model.init_weights()
    logits = torch.tensor([3., 0.5, -1, 1, 2, -2, 0])
    for stage, head in enumerate(model.roi_head.bbox_head):
        head.fc_cls.weight.data.zero_()
        head.fc_cls.bias.data = logits + (stage - 1)
        head.fc_cls.bias.data[4] += stage - 1
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1., 1.)),
        gt_instances=InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long()))
    batch = model.data_preprocessor(
        dict(
            inputs=[torch.randint(0, 255, (3, 96, 96)).byte()],
            data_samples=[sample]))
    model.eval()
    with torch.no_grad():
        found, = model.predict(batch['inputs'], batch['data_samples'])
    found = found.pred_instances
    weights = [float(n)**-0.6 for n in COUNTS] + [1.]
    scores = logits.exp() * torch.tensor(weights)
    scores /= scores.sum()
    assert set(found.labels.tolist()) == set(range(K))
    torch.testing.assert_close(found.scores, scores[found.labels])


def test_a_calibration_that_a_cascade_never_asks_is_refused(cascade):
    cascade.custom_imports = dict(imports=['eql_mmdet'])
    complete_config(cascade)
    cascade.model.roi_head.bbox_head[2].calibration = None
    with pytest.raises(
            ValueError, match=r'last of its 3.*that of bbox_head.1; give'):
        complete_config(cascade)


@pytest.fixture
def quick(tiny_root, monkeypatch):
    monkeypatch.chdir(tiny_root)
    init_default_scope('mmdet')

    def read(**options):
        cfg = Config.fromfile(QUICK)
        cfg.merge_from_dict({
            f'model.roi_head.bbox_head.calibration{key}': value
            for key, value in options.items()
        })
        return cfg

    return read


SWITCHES = {
    'norcal': {'.type': 'norcal', '.gamma': 0.6},
    'logit_adjustment': {'.type': 'logit_adjustment', '.tau': 1.0},
    'fracal': {'.type': 'fracal'},
}  # yapf: disable


def detections(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with torch.no_grad():
        return model.test_step(pseudo_collate([dataset[0]]))[0].pred_instances


@pytest.mark.parametrize('kind', [
    kind if kind == 'norcal' else pytest.param(kind, marks=pytest.mark.slow)
    for kind in SWITCHES
])
def test_a_quick_config_is_switched_on_from_the_command_line(quick, kind):
    options = {**SWITCHES[kind], '.frequency_source': None}
    cfg = quick(**options)
    complete_config(cfg)
    calibration = cfg.model.roi_head.bbox_head.calibration
    assert calibration.frequency_source == (
        'data/tiny_lvis/annotations/tiny_lvis_train.json')
    found, plain = detections(cfg), detections(quick())
    assert len(found) == len(plain) == 100
    assert not torch.allclose(found.scores, plain.scores)


def test_none_on_the_command_line_takes_it_out(quick):
    cfg = quick(**{'': None})
    assert cfg.model.roi_head.bbox_head.calibration is None
    complete_config(cfg)
    assert MODELS.build(cfg.model).roi_head.bbox_head.calibration is None


def test_a_source_in_another_order_is_read_by_name(quick, tmp_path):
    path = Path('data/tiny_lvis/annotations/tiny_lvis_train.json')
    content = json.loads(path.read_text())
    content['categories'].reverse()
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(content))
    shifts = []
    for source in (None, str(other)):
        cfg = quick(**SWITCHES['norcal'], **{'.frequency_source': source})
        complete_config(cfg)
        head = MODELS.build(cfg.model).roi_head.bbox_head
        shifts.append(head.calibration.shift)
    assert torch.equal(*shifts)


@pytest.mark.parametrize('run', ['test', 'val'])
def test_labels_in_another_order_stop_the_run(quick, tmp_path, run):
    names = [
        item['name'] for item in json.loads(
            Path('data/tiny_lvis/annotations/tiny_lvis_train.json').read_text(
            ))['categories']
    ]
    swapped = (names[1], names[0], *names[2:])
    cfg = quick(**SWITCHES['norcal'], **{
        '.frequency_source': None,
        '.classes': swapped
    })
    cfg.work_dir, cfg.log_level = str(tmp_path), 'ERROR'
    cfg.experiment_name = f'calibrated_{run}'
    expected = re.escape(', '.join(swapped[:5]))
    with pytest.raises(
            ValueError,
            match=rf'calibration of roi_head.bbox_head.*{expected}'
            '.*the labels are'):
        getattr(Runner.from_cfg(cfg), run)()
