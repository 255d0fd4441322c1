# Sigmoid cross-entropy: Equalization Loss that protects no category. Table 2
# of the paper, lambda = 0: AP 20.1 there.
_base_ = 'eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(frequency_threshold=0))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
