# One mask for all categories, as in the paper; the released code has one each.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(roi_head=dict(mask_head=dict(class_agnostic=True)))
