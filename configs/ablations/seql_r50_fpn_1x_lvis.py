# Softmax EQL in the detector. The paper uses it for classification only; gamma
# is its best on ImageNet-LT.
_base_ = '../baseline_r50_fpn_1x_lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type='SoftmaxEqualizationLoss',
                frequency_source='lvis_v0.5',
                frequency_threshold=1.77e-3,
                gamma=0.9))))
