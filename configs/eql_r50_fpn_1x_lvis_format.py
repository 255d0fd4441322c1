# Equalization Loss for an LVIS-format set of your own, 12 epochs:
#   data/custom/annotations/{train,val}.json, data/custom/{train,val}/
# The classes are those of the training file; see docs/data.md.
_base_ = 'eql_r50_fpn_1x_coco_format.py'

# LVIS averages over categories, up to 300 detections an image: those of rare
# categories come late, with low scores, and count all the same.
model = dict(test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)))

train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(type='LVISFormatDataset'))
val_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='LVISEvalMetric',
    ann_file=None,  # of the data set
    metric=['bbox', 'segm'],
    classwise=True)
test_evaluator = val_evaluator
