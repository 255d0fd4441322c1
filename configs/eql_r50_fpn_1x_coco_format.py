# Equalization Loss for a COCO-format set of your own, 12 epochs:
#   data/custom/annotations/{train,val}.json, data/custom/{train,val}/
# The classes are those of the training file; see the README.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['eql_mmdet'])

data_root = 'data/custom/'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            num_classes=None,  # of the training file
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source=None,  # the same file
                tail_ratio=0.1)),
        mask_head=dict(type='LargeVocabMaskHead', num_classes=None, rle=True)),
    # Sigmoid scores of rare categories are low, and right all the same.
    test_cfg=dict(rcnn=dict(score_thr=0.001)))

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='COCOFormatDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/')))
val_dataloader = dict(
    dataset=dict(
        type='COCOFormatDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/')))
test_dataloader = val_dataloader
val_evaluator = dict(type='COCOEvalMetric', ann_file=None)  # of the data set
test_evaluator = val_evaluator
