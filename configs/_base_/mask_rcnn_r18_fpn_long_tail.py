# The set of docs/which.md: 120 categories whose image counts fall as those of
# LVIS do, and the small Mask R-CNN of the demo.
_base_ = './mask_rcnn_r18_fpn_tiny_lvis.py'

num_classes = 120
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=num_classes),
        mask_head=dict(num_classes=num_classes)),
    # Scores of drowned categories are low.
    test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)))

data_root = 'data/long_tail/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/tiny_lvis_val.json')
test_evaluator = val_evaluator
