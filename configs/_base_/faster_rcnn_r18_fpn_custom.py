# The trial run of mask_rcnn_r18_fpn_custom.py for sets without masks.
_base_ = './mask_rcnn_r18_fpn_custom.py'

model = dict(roi_head=dict(mask_roi_extractor=None, mask_head=None))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale={{_base_.scale}}, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
