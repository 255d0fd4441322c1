# Equalization Loss v2 with the recipe of the first, on LVIS v0.5; its authors
# have no such row.
_base_ = '_base_/mask_rcnn_r50_fpn_lvis_v0.5.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(_delete_=True, type='EqualizationLossV2'))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
