"""EQL in all stages of a cascade: one training step, one image."""
import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from eql_mmdet import EQLBBoxHead
from eql_mmdet.heads.roi_sampler import VerifiedRandomSampler
from eql_mmdet.losses.fused import equalization_roi_loss

K = 6


def build(loss_cls):
    """A small cascade with a loss in each of its three heads."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    cfg = get_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64])
    for head in cfg.model.roi_head.bbox_head:
        head.pop('loss_cls')
        head.update(
            type='EQLBBoxHead',
            num_classes=K,
            fc_out_channels=32,
            loss_cls=loss_cls)
    cfg.model.test_cfg.rcnn.update(score_thr=1e-4)
    built = MODELS.build(cfg.model)
    built.init_weights()
    return built


@pytest.fixture
def model(tmp_path):
    path = tmp_path / 'counts.csv'
    rows = [
        f'{i},c{i},f,{n},{n}' for i, n in enumerate([1, 2, 50, 60, 70, 80])
    ]
    path.write_text('# num_images: 100\n'
                    'id,name,frequency,image_count,instance_count\n' +
                    '\n'.join(rows) + '\n')
    return build(
        dict(
            type='EqualizationLoss',
            frequency_source=str(path),
            frequency_threshold=0.05))


@pytest.fixture
def batch(model):
    boxes = torch.tensor([[4., 4., 40., 40.], [50., 50., 90., 90.]])
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1., 1.)),
        gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([2, 3])),
        ignored_instances=InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long()))
    return model.data_preprocessor(
        dict(
            inputs=[torch.randint(0, 255, (3, 96, 96)).byte()],
            data_samples=[sample]))


def test_every_stage_protects_the_tail(model, batch):
    losses = model.loss(batch['inputs'], batch['data_samples'])
    model.parse_losses(losses)[0].backward()
    for stage, head in enumerate(model.roi_head.bbox_head):
        assert f's{stage}.acc_classes' in losses
        assert head.fc_cls.out_features == K
        # Background RoIs still teach the tail, so its weights have gradients.
        assert (head.fc_cls.weight.grad != 0).any(dim=1).all()


@pytest.mark.parametrize('verified', [[], [0, 3], [0, 1, 2, 3]])
def test_every_stage_knows_the_verified_categories(model, batch, verified,
                                                   monkeypatch):
    tails = []

    def record(logits, labels, tail, image_index, exclude_background):
        tails.append(tail.tolist())
        assert image_index.tolist() == [0] * len(logits)
        return equalization_roi_loss(logits, labels, tail, image_index,
                                     exclude_background)

    monkeypatch.setattr('eql_mmdet.losses.equalization.equalization_roi_loss',
                        record)
    for head in model.roi_head.bbox_head:
        head.loss_cls.keep_verified = True
    model.roi_head.bbox_sampler = [
        VerifiedRandomSampler(num=64, pos_fraction=0.25)
        for _ in model.roi_head.bbox_head
    ]
    batch['data_samples'][0].gt_instances.set_metainfo(
        dict(verified_labels=verified))
    losses = model.loss(batch['inputs'], batch['data_samples'])
    expected = [float(k < 2 and k not in verified) for k in range(K)]
    assert tails == [[expected]] * 3
    model.parse_losses(losses)[0].backward()
    assert torch.isfinite(losses['s2.loss_cls'])


def test_detections_are_those_of_the_host(model, batch, monkeypatch):
    model.eval()
    with torch.no_grad():
        ours, = model.predict(batch['inputs'], batch['data_samples'])
        ours = ours.pred_instances
        monkeypatch.setattr(EQLBBoxHead, '_predict_by_feat_single',
                            BBoxHead._predict_by_feat_single)
        host, = model.predict(batch['inputs'], batch['data_samples'])
    assert len(ours) == 100
    for key, value in host.pred_instances.items():
        assert torch.equal(ours[key], value)


def test_scores_are_sigmoids_of_the_mean_logits(model, batch):
    for head in model.roi_head.bbox_head:
        head.fc_cls.weight.data.zero_()
        head.fc_cls.bias.data = torch.tensor([-9., -9., -9., -9., 1., -9.])
    model.roi_head.bbox_head[0].fc_cls.bias.data[4] = 4.
    model.eval()
    with torch.no_grad():
        found, = model.predict(batch['inputs'], batch['data_samples'])
    found = found.pred_instances
    best = found[found.labels == 4]
    torch.testing.assert_close(best.scores,
                               torch.full_like(best.scores, 2.).sigmoid())
    assert (found[found.labels != 4].scores < 1e-3).all()


@pytest.mark.parametrize('name, memory', [
    ('EqualizationLossV2', 'neg_grad'),
    pytest.param('SyncSeesawLoss', 'cum_samples', marks=pytest.mark.slow),
])
def test_every_stage_has_a_memory_of_its_own(name, memory, batch):
    model = build(dict(type=name))
    losses = model.loss(batch['inputs'], batch['data_samples'])
    model.parse_losses(losses)[0].backward()
    first, _, last = (
        getattr(head.loss_cls, memory) for head in model.roi_head.bbox_head)
    # Of boxes that the stages before have moved.
    assert first.any() and last.any() and not torch.equal(first, last)
    model.eval()
    with torch.no_grad():
        found, = model.predict(batch['inputs'], batch['data_samples'])
    scores = found.pred_instances.scores
    assert len(scores) == 100 and ((scores > 0) & (scores < 1)).all()
