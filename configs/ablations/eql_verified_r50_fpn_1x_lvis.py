# The rule of Sec. 4.2, which the released code leaves out: categories that are
# known to be in an image, or not to be, count in full there.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(keep_verified=True))),
    train_cfg=dict(rcnn=dict(sampler=dict(type='VerifiedRandomSampler'))))
train_dataloader = dict(
    dataset=dict(pipeline=[
        *_base_.train_dataloader.dataset.pipeline[:-1],
        dict(type='PackVerifiedInputs')
    ]))
