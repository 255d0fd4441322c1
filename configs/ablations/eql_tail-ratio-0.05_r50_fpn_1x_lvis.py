# The tail is as large as 5 % of all image counts (Sec. 4.3 of the paper).
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(frequency_threshold=None, tail_ratio=0.05))))
