# Equalization Loss for a COCO-format set of your own, 12 epochs:
#   data/custom/annotations/{train,val}.json, data/custom/{train,val}/
# The classes are those of the training file; see the README.
_base_ = '_base_/mask_rcnn_r50_fpn_custom.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source=None,  # the training file
                tail_ratio=0.1))))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
