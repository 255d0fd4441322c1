# Sigmoid cross-entropy (EQL that protects nothing), repeat factor sampling.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(frequency_threshold=0.0))))
train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=5e-4))
