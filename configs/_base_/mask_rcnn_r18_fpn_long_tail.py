# The experiment of docs/results.md: 120 categories whose image counts fall as
# those of LVIS do, a small Mask R-CNN that has seen other pictures before.
_base_ = './mask_rcnn_r18_fpn_tiny_lvis.py'
load_from = 'work_dirs/long_tail/pretrain/epoch_8.pth'

num_classes = 120
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=num_classes),
        mask_head=dict(num_classes=num_classes)),
    # Scores of drowned categories are low.
    test_cfg=dict(rcnn=dict(score_thr=1e-4)))

data_root = 'data/long_tail/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/tiny_lvis_val.json')
test_evaluator = val_evaluator

# Iterations and not epochs: resampling must not mean more training.
max_iters = 500
train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=max_iters,
    val_interval=max_iters)
# As in the LVIS recipe. Adam divides every gradient by its own size, so that
# it hides most of what a loss does to the size of gradients.
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    # Where the LVIS recipe has them: after 2/3 and 8/9.
    dict(type='MultiStepLR', by_epoch=False, milestones=[333, 444], gamma=0.1)
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters),
    logger=dict(interval=20))
log_processor = dict(by_epoch=False)
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='CategoryPressureHook', interval=max_iters // 4)
]
