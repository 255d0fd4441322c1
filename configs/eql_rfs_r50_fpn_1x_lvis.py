# Equalization Loss with repeat factor sampling.
_base_ = 'eql_r50_fpn_1x_lvis.py'

train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=5e-4))
