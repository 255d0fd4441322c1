# Long-tail experiment: softmax cross-entropy, no resampling.
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
