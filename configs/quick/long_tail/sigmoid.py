# End to end from the common start: sigmoid cross-entropy, which is EQL
# without a tail.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source=None,
                frequency_threshold=0))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
