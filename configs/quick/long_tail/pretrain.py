# Weights to start the long-tail experiment from, as ImageNet's would be: the
# small Mask R-CNN on another synthetic set, of 60 categories, softmax.
_base_ = '../../_base_/mask_rcnn_r18_fpn_tiny_lvis.py'

data_root = 'data/long_tail_pretrain/'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/tiny_lvis_val.json')
test_evaluator = val_evaluator

# Of the 12 epochs of the schedule; the experiment goes on from here, so that
# the learning rate need not come to an end.
train_cfg = dict(max_epochs=8, val_interval=8)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
