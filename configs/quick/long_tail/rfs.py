# Long-tail experiment: softmax cross-entropy, repeat factor sampling.
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'

train_dataloader = dict(
    # 30 of 3,000 images, as 5e-4 are 28 of LVIS.
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=0.01))
