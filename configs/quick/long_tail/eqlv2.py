# End to end from the common start: Equalization Loss v2.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(_delete_=True, type='EqualizationLossV2'))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
