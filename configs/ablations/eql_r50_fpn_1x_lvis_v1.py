# Equalization Loss on LVIS v1, no resampling.
_base_ = 'baseline_r50_fpn_1x_lvis_v1.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='EQLBBoxHead',
            loss_cls=dict(
                _delete_=True,
                type='EqualizationLoss',
                frequency_source='lvis_v1',
                # All rare and common categories and no frequent one; 1.1e-3,
                # also in use, protects 17 frequent ones.
                frequency_threshold=1.01e-3))))
