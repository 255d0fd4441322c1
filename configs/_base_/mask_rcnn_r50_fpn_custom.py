# Mask R-CNN for a COCO-format set of your own, 12 epochs. The classes are
# those of the training file. Every experiment names its loss and sampler.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['eql_mmdet'])

data_root = 'data/custom/'
model = dict(
    roi_head=dict(
        bbox_head=dict(type='LargeVocabBBoxHead', num_classes=None),
        mask_head=dict(type='LargeVocabMaskHead', num_classes=None, rle=True)),
    # Scores of rare categories are low, and right all the same.
    test_cfg=dict(rcnn=dict(score_thr=0.001)))

train_dataloader = dict(
    dataset=dict(
        type='COCOFormatDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        # The host leaves out images of less than 32 pixels without a word.
        filter_cfg=dict(min_size=0)))
val_dataloader = dict(
    dataset=dict(
        type='COCOFormatDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/')))
test_dataloader = val_dataloader
val_evaluator = dict(type='COCOEvalMetric', ann_file=None)  # of the data set
test_evaluator = val_evaluator
