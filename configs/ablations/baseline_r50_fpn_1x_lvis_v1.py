# Softmax cross-entropy on LVIS v1 by MMDetection's recipe, no resampling: 12
# epochs from the weights of torchvision.
_base_ = 'mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py'
custom_imports = dict(imports=['eql_mmdet'])

model = dict(
    roi_head=dict(
        bbox_head=dict(type='LargeVocabBBoxHead'),
        mask_head=dict(type='LargeVocabMaskHead', rle=True)))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    # The base wraps the data in ClassBalancedDataset.
    dataset=dict(
        _delete_=True,
        type='LVISFormatDataset',
        data_root='data/lvis_v1/',
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline={{_base_.train_pipeline}},
        backend_args=None))
val_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='LVISEvalMetric',
    ann_file='data/lvis_v1/annotations/lvis_v1_val.json',
    metric=['bbox', 'segm'],
    classwise=True)
test_evaluator = val_evaluator
