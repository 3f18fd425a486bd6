# ResNet-152 on ImageNet, InfoPro with MAN++, K=2 (paper, Table II; released code). The task's weight is InfoPro's 1:
# the released code has ResNet-101's here.
# Twin: resnet152_e2e_imagenet.py
_base_ = './resnet101_infopro_manpp_k2_imagenet.py'
local_learning = dict(local_head=dict(task_weight=1.0), deeper_local_head=dict(task_weight=1.0))
model = dict(
    backbone=dict(
        backbone=dict(depth=152),
        partition=dict(ends=['layer2.5']),
        local_head=dict(task_weight=1.0),
    )
)
