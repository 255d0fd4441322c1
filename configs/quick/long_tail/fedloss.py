# End to end from the common start: federated loss.
_base_ = 'softmax.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='FederatedLoss',
                frequency_source=None,
                # Of 120; a batch of 8 images has 19 to 32 of them as labels.
                num_sampled=50))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
