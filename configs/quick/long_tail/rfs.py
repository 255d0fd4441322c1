# Long-tail experiment: softmax cross-entropy, repeat factor sampling.
# Mask AP of three seeds: 10.3 ± 0.2 % (APr 0.0, APc 7.7, APf 29.3).
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'

train_dataloader = dict(
    # 30 of 3,000 images, as 5e-4 are 28 of LVIS.
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=0.01))
