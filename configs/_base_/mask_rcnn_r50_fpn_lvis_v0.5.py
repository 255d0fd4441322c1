# The authors' recipe for LVIS v0.5 on top of MMDetection's: 8 GPUs x 2
# images, 90,000 iterations. docs/recipe.md compares it setting by setting.
_base_ = 'mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-2x_lvis-v0.5.py'
custom_imports = dict(imports=['eql_mmdet'])

model = dict(
    # Weights of the caffe kind: BGR, mean only, stride in the 1x1.
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        norm_cfg=dict(type='BN', requires_grad=False),
        style='caffe',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    roi_head=dict(
        bbox_head=dict(type='LargeVocabBBoxHead'),
        mask_head=dict(type='CropFCNMaskHead', rle=True)),
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))))

# The base wraps the data in ClassBalancedDataset; here the sampler alone
# decides how often an image is shown, and every experiment names its own.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='LVISV05Dataset',
        data_root='data/lvis_v0.5/',
        ann_file='annotations/lvis_v0.5_train.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline={{_base_.train_pipeline}},
        backend_args=None))
val_evaluator = dict(
    _delete_=True,
    type='LVISEvalMetric',
    ann_file='data/lvis_v0.5/annotations/lvis_v0.5_val.json',
    metric=['bbox', 'segm'],
    classwise=True)
test_evaluator = val_evaluator

train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=90000,
    val_interval=90000)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0,
        end=1000),
    dict(
        type='MultiStepLR',
        begin=0,
        end=90000,
        by_epoch=False,
        milestones=[60000, 80000],
        gamma=0.1)
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=10000, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=16)
