# A Mask R-CNN that two CPU cores train from scratch in minutes, on the
# synthetic set of tools/make_tiny_lvis.py: 60 categories, 128 px images.
_base_ = 'mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-2x_lvis-v0.5.py'
custom_imports = dict(imports=['eql_mmdet'])
randomness = dict(seed=0)

num_classes = 60
channels = 48
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3),
    backbone=dict(
        depth=18,
        base_channels=32,
        stem_channels=32,
        # Nothing is pretrained, so nothing is frozen.
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=None),
    neck=dict(
        in_channels=[32, 64, 128, 256],
        out_channels=channels,
        num_outs=4,
        norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # Objects are 10 to 100 px wide.
        anchor_generator=dict(scales=[5], strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            # Levels by size: 32 and 64 px instead of 112 and 224.
            finest_scale=16),
        bbox_head=dict(
            type='LargeVocabBBoxHead',
            in_channels=channels,
            fc_out_channels=256,
            num_classes=num_classes,
            # Too few objects for boxes of every category.
            reg_class_agnostic=True),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=16),
        mask_head=dict(
            type='LargeVocabMaskHead',
            rle=True,
            num_convs=2,
            in_channels=channels,
            conv_out_channels=32,
            num_classes=num_classes,
            class_agnostic=True)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(score_thr=0.001, max_per_img=100)))

data_root = 'data/tiny_lvis/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
train_dataloader = dict(
    batch_size=16,
    # A worker would take turns with the two threads that compute.
    num_workers=0,
    persistent_workers=False,
    batch_sampler=None,
    dataset=dict(
        _delete_=True,
        type='LVISFormatDataset',
        data_root=data_root,
        ann_file='annotations/tiny_lvis_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='LVISFormatDataset',
        data_root=data_root,
        ann_file='annotations/tiny_lvis_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='LVISEvalMetric',
    ann_file=data_root + 'annotations/tiny_lvis_val.json',
    metric=['bbox', 'segm'],
    classwise=True)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=12, val_interval=12)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=12,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min_ratio=0.01)
]
default_hooks = dict(logger=dict(interval=10))
# Each process trains batch norm on its own images; this averages.
custom_hooks = [dict(type='SyncBuffersHook')]
auto_scale_lr = dict(base_batch_size=16)
