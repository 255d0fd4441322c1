# Equalization Loss with class-aware sampling: category first, then image.
_base_ = 'eql_r50_fpn_1x_lvis.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='ClassAwareSampler', num_sample_class=1))
