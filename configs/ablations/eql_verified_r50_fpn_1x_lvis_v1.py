# The rule of Sec. 4.2 on LVIS v1.
_base_ = 'eql_r50_fpn_1x_lvis_v1.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(keep_verified=True))),
    train_cfg=dict(rcnn=dict(sampler=dict(type='VerifiedRandomSampler'))))
train_dataloader = dict(
    dataset=dict(pipeline=[
        *_base_.train_dataloader.dataset.pipeline[:-1],
        dict(type='PackVerifiedInputs')
    ]))
