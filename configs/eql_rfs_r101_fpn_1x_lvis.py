# Equalization Loss with repeat factor sampling, R101.
_base_ = 'eql_r50_fpn_1x_lvis.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')))
train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='RepeatFactorSampler', repeat_threshold=5e-4))
