# Class weights on the synthetic set, no resampling.
_base_ = '../_base_/mask_rcnn_r18_fpn_tiny_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='ClassWeightedLoss',
                frequency_source=  # noqa: E251
                'data/tiny_lvis/annotations/tiny_lvis_train.json',
                power=0.5))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
