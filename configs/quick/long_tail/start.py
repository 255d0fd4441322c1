# What all methods of docs/which.md start from: softmax cross-entropy, every
# image once an epoch, 25 epochs.
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))

max_epochs = 25
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min_ratio=0.01)
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
