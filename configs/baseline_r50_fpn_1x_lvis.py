# Softmax cross-entropy, no resampling: the baseline row of the authors.
_base_ = '_base_/mask_rcnn_r50_fpn_lvis_v0.5.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
