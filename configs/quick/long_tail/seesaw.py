# End to end from the common start: Seesaw loss.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(_delete_=True, type='SyncSeesawLoss'))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
