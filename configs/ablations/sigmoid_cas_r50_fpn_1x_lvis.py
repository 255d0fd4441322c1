# Sigmoid cross-entropy (EQL that protects nothing), class-aware sampling.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(frequency_threshold=0.0))))
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassAwareSampler'))
