# Equalization Loss for a COCO-format set of your own, 12 epochs:
#   data/custom/annotations/{train,val}.json, data/custom/{train,val}/
# A config that inherits from this one names the classes; see the README.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['eql_mmdet'])

data_root = 'data/custom/'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source=data_root + 'annotations/train.json',
                tail_ratio=0.1))),
    # Sigmoid scores of rare categories are low, and right all the same.
    test_cfg=dict(rcnn=dict(score_thr=0.001)))

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/')))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
