# Sigmoid cross-entropy: Equalization Loss that protects no category.
_base_ = '_base_/mask_rcnn_r50_fpn_lvis_v0.5.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source='lvis_v0.5',
                frequency_threshold=0))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
