# Long-tail experiment: softmax cross-entropy, no resampling.
# Mask AP of three seeds: 10.2 ± 0.1 % (APr 0.0, APc 7.4, APf 29.5).
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
