# Sigmoid cross-entropy (EQL that protects nothing), repeat factor sampling.
_base_ = '../eql_rfs_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(frequency_threshold=0.0))))
