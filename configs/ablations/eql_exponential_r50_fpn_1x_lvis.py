# Exponential decay in place of the threshold (Sec. 4.4): AP 22.3 in the paper,
# which divides by all training images.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                frequency_threshold=None,
                decay=dict(type='exponential', a=400, n=2),
                num_images=57263))))
