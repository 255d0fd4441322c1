# Federated loss on the synthetic set, no resampling.
_base_ = '../_base_/mask_rcnn_r18_fpn_tiny_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='FederatedLoss',
                frequency_source=  # noqa: E251
                'data/tiny_lvis/annotations/tiny_lvis_train.json',
                # Of 60; a batch of 16 images has 15 to 31 of them as labels.
                num_sampled=40))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
