# End to end from the common start, with a new classifier: softmax
# cross-entropy, every image once an epoch.
_base_ = '../../_base_/mask_rcnn_r18_fpn_long_tail.py'
load_from = 'work_dirs/experiment/start.pth'

# As many RoIs a step as where only the head is trained, of half the images.
model = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=64))))
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))

# Iterations and not epochs: resampling must not mean more training.
max_iters = 400
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
    dict(type='MultiStepLR', by_epoch=False, milestones=[267, 356], gamma=0.1)
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters),
    logger=dict(interval=20))
log_processor = dict(by_epoch=False)
