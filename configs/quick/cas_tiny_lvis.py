# Softmax cross-entropy on the synthetic set, class-aware: category first.
_base_ = 'baseline_tiny_lvis.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='ClassAwareSampler', num_sample_class=1))
