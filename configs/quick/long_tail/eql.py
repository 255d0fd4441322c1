# End to end from the common start: Equalization Loss, all but the frequent
# categories protected.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source=None,
                tail_ratio=0.1))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
