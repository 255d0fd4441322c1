# Softmax cross-entropy, no resampling: the R101 baseline row.
_base_ = 'baseline_r50_fpn_1x_lvis.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
