"""The heads at test time: against MMDetection's own."""
import pytest
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from eql_mmdet.heads import postprocess

K = 70
SHAPE = dict(num_classes=K, in_channels=4, roi_feat_size=1, fc_out_channels=8)
SIGMOID = dict(type='CrossEntropyCustomLoss', use_sigmoid=True, num_classes=K)
CONFIG = ConfigDict(
    score_thr=1e-4, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50)
META = dict(img_shape=(300, 400), ori_shape=(150, 200), scale_factor=(2., 2.))


def build(name, **kwargs):
    init_default_scope('mmdet')
    return MODELS.build(dict(type=name, **SHAPE, **kwargs))


def head_outputs(rows, channels, regressions):
    generator = torch.Generator().manual_seed(rows + channels)
    roi = torch.rand(rows, 5, generator=generator) * 200
    roi[:, 3:] += roi[:, 1:3]
    return dict(
        roi=roi,
        cls_score=2 * torch.randn(rows, channels, generator=generator) - 4,
        bbox_pred=torch.randn(rows, 4 * regressions, generator=generator),
        img_meta=META)


@pytest.fixture
def unrounded(monkeypatch):
    """Decode to multiples of 1/8, which no shift by 70 x 401 px rounds."""
    decode = DeltaXYWHBBoxCoder.decode
    monkeypatch.setattr(
        DeltaXYWHBBoxCoder, 'decode', lambda *args, **kwargs:
        (8 * decode(*args, **kwargs)).round() / 8)


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for key in wanted.keys():
        assert torch.equal(got[key], wanted[key]), key
        assert got[key].dtype == wanted[key].dtype


def test_rotated_boxes_are_left_to_the_host():
    assert not postprocess.is_served(dict(iou_threshold=0.5), 10, box_dim=5)


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('sigmoid', [True, False])
@pytest.mark.parametrize('rows', [0, 1, 150])
def test_head_detects_what_the_host_detects(rescale, agnostic, sigmoid, rows,
                                            unrounded):
    loss = dict(loss_cls=SIGMOID) if sigmoid else {}
    host = build('Shared2FCBBoxHead', reg_class_agnostic=agnostic, **loss)
    ours = build('LargeVocabBBoxHead', reg_class_agnostic=agnostic, **loss)
    found = head_outputs(rows, K + (not sigmoid), 1 if agnostic else K)
    options = dict(rescale=rescale, rcnn_test_cfg=CONFIG)
    wanted = host._predict_by_feat_single(**found, **options)
    assert len(wanted) == (50 if rows > 1 else len(wanted))
    assert_same(ours._predict_by_feat_single(**found, **options), wanted)


SETTINGS = {
    'threshold of another name':
    dict(nms=dict(iou_thr=0.4)),
    'no type':
    dict(nms=dict(iou_threshold=0.4)),
    'soft-NMS':
    dict(nms=dict(type='soft_nms', iou_threshold=0.4)),
    'class-agnostic':
    dict(nms=dict(iou_threshold=0.4, class_agnostic=True)),
    'class-agnostic, split':
    dict(nms=dict(iou_threshold=0.4, class_agnostic=True, split_thr=5)),
    'not class-agnostic':
    dict(nms=dict(iou_threshold=0.4, class_agnostic=False, split_thr=5)),
    'offset':
    dict(nms=dict(iou_threshold=0.4, offset=1)),
    'no NMS':
    dict(nms=None),
    'all detections':
    dict(max_per_img=-1),
    'no candidates':
    dict(score_thr=2.),
}


@pytest.mark.parametrize('changed', SETTINGS.values(), ids=SETTINGS)
def test_head_keeps_the_settings_of_the_host(changed, unrounded):
    cfg = ConfigDict({**CONFIG, **changed})
    found = head_outputs(40, K + 1, K)
    assert_same(
        build('LargeVocabBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=cfg),
        build('Shared2FCBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=cfg))


@pytest.fixture
def log(caplog):
    """What the host's logger says; it may have said it in another test."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


BROKEN = dict(
    score=('cls_score', 3, 7, torch.nan),
    infinite_score=('cls_score', 5, 7, torch.inf),
    delta=('bbox_pred', 0, 9, torch.nan),
    infinite_delta=('bbox_pred', 39, 4 * K - 4, -torch.inf),
    box=('roi', 11, 2, torch.nan))


@pytest.mark.parametrize(
    'name, row, column, value', BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize('agnostic', [True, False])
def test_rows_that_are_not_finite_are_dropped_and_told(log, name, row, column,
                                                       value, agnostic):
    head = build('LargeVocabBBoxHead', reg_class_agnostic=agnostic)
    found = head_outputs(40, K + 1, 1 if agnostic else K)
    others = torch.arange(40) != row
    wanted = head._predict_by_feat_single(
        **{
            key: item[others] if torch.is_tensor(item) else item
            for key, item in found.items()
        },
        rcnn_test_cfg=CONFIG)
    assert 'not finite' not in log.text
    found[name][row, column % found[name].shape[1]] = value
    got = head._predict_by_feat_single(**found, rcnn_test_cfg=CONFIG)
    assert_same(got, wanted)
    assert len(got) == 50 and got.bboxes.isfinite().all()
    assert 'not finite' in log.text


def test_dropped_rows_are_told_once(monkeypatch):
    """Not for each image: the handlers of the host leave repetitions out."""
    # A logger of its own: that of an earlier test may be silent.
    logger, told = MMLogger('told_once'), []
    monkeypatch.setattr(logger.handlers[0], 'emit', told.append)
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    found = head_outputs(40, K + 1, K)
    found['bbox_pred'][3, 1] = torch.nan
    head = build('LargeVocabBBoxHead')
    for _ in range(3):
        head._predict_by_feat_single(**found, rcnn_test_cfg=CONFIG)
    assert [record.getMessage() for record in told] == [postprocess.BROKEN]


def test_nothing_is_detected_where_no_row_is_finite():
    found = head_outputs(40, K + 1, K)
    found['bbox_pred'][:] = torch.nan
    assert not len(
        build('LargeVocabBBoxHead')._predict_by_feat_single(
            **found, rcnn_test_cfg=CONFIG))


def test_without_test_settings_all_raw_results_come_back():
    """So test-time augmentation gets every box and score."""
    found = head_outputs(9, K + 1, K)
    raw = build('LargeVocabBBoxHead')._predict_by_feat_single(
        **found, rescale=True)
    assert raw.bboxes.shape == (9, 4 * K) and raw.scores.shape == (9, K + 1)
    assert_same(
        raw,
        build('Shared2FCBBoxHead')._predict_by_feat_single(
            **found, rescale=True))


def test_only_candidates_are_decoded(monkeypatch):
    head = build('LargeVocabBBoxHead')
    decode, sizes = head.bbox_coder.decode, []

    def count(boxes, deltas, **kwargs):
        sizes.append(len(deltas))
        return decode(boxes, deltas, **kwargs)

    monkeypatch.setattr(head.bbox_coder, 'decode', count)
    head._predict_by_feat_single(
        **head_outputs(300, K + 1, K), rcnn_test_cfg=CONFIG)
    assert 0 < sum(sizes) < 0.05 * 300 * K


def test_weights_have_the_names_of_the_host():
    ours, host = build('LargeVocabBBoxHead'), build('Shared2FCBBoxHead')
    assert ours.state_dict().keys() == host.state_dict().keys()
