# Gompertz decay in place of the threshold (Sec. 4.4): AP 22.7 in the paper,
# which divides by all training images.
_base_ = '../eql_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                frequency_threshold=None,
                decay=dict(type='gompertz', a=1, b=80, c=3000),
                num_images=57263))))
