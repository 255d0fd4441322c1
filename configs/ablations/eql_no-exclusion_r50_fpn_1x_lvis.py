# E(r) = 1: the background spares the tail too. AP 22.2 in the paper.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(bbox_head=dict(loss_cls=dict(exclude_background=False))))
