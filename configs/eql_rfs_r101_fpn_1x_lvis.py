# Equalization Loss with repeat factor sampling, R101.
_base_ = '_base_/mask_rcnn_r50_fpn_lvis_v0.5.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')),
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source='lvis_v0.5',
                frequency_threshold=1.77e-3))))
train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=5e-4))
