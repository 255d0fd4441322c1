# Softmax cross-entropy on the synthetic set, repeat factor sampling.
_base_ = 'baseline_tiny_lvis.py'

train_dataloader = dict(
    # 29 of 979 images, as 5e-4 are 28 of LVIS.
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=0.03))
