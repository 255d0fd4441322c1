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
    # "Xavier" of Caffe2: uniform by fan-in alone.
    neck=dict(init_cfg=dict(type='Caffe2Xavier', layer='Conv2d')),
    roi_head=dict(
        bbox_head=dict(
            type='LargeVocabBBoxHead',
            init_cfg=[
                dict(type='Normal', std=0.01, override=dict(name='fc_cls')),
                dict(type='Normal', std=0.001, override=dict(name='fc_reg')),
                dict(type='Caffe2Xavier', override=dict(name='shared_fcs'))
            ]),
        mask_head=dict(
            type='LargeVocabMaskHead', predictor_std=0.001, rle=True)),
    train_cfg=dict(
        # An object too small to reach IoU 0.3 with any anchor gets its best
        # one all the same.
        rpn=dict(assigner=dict(min_pos_iou=0.0)),
        rcnn=dict(assigner=dict(match_low_quality=False))))

# PIL reads and resizes: it smooths when it shrinks, cv2 does not. Masks stay
# polygons until the mask head draws them inside its proposals.
load_image = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', backend_args=None)
load_annotations = dict(
    type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False)
train_pipeline = [
    load_image, load_annotations,
    dict(
        type='RandomChoiceResize',
        scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736),
                (1333, 768), (1333, 800)],
        keep_ratio=True,
        backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    load_image,
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    load_annotations,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
# The base wraps the data in ClassBalancedDataset; here the sampler alone
# decides how often an image is shown, and every experiment names its own.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='LVISFormatDataset',
        data_root='data/lvis_v0.5/',
        ann_file='annotations/lvis_v0.5_train.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        backend_args=None))
val_dataloader = dict(
    dataset=dict(type='LVISFormatDataset', pipeline=test_pipeline))
test_dataloader = val_dataloader
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
    # The factor is 1 from iteration end - 1 on: 0.001 + 0.999 i / 1000.
    dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0,
        end=1001),
    dict(
        type='MultiStepLR',
        begin=0,
        end=90000,
        by_epoch=False,
        milestones=[60000, 80000],
        gamma=0.1)
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=16)
