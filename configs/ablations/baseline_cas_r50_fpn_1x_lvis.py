# Softmax cross-entropy with class-aware sampling.
_base_ = '../baseline_r50_fpn_1x_lvis.py'

train_dataloader = dict(sampler=dict(_delete_=True, type='ClassAwareSampler'))
