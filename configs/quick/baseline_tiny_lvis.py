# Softmax cross-entropy on the synthetic set, no resampling.
_base_ = '../_base_/mask_rcnn_r18_fpn_tiny_lvis.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
