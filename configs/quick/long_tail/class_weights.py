# End to end from the common start: class weights in the softmax.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='ClassWeightedLoss',
                frequency_source=None,
                power=0.5))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
