# ResNet-152 on ImageNet, InfoPro with MAN++, K=4 (paper, Tables II and III; released code). The task's weight is
# InfoPro's 1: the released code has ResNet-101's here.
# Twin: resnet152_e2e_imagenet.py
_base_ = './resnet152_infopro_manpp_k2_imagenet.py'
model = dict(
    backbone=dict(
        partition=dict(ends=['layer2.6', 'layer3.13', 'layer3.25']),
        local_head=[
            {{_base_.local_learning.local_head}},
            {{_base_.local_learning.deeper_local_head}},
            {{_base_.local_learning.deeper_local_head}},
        ],
    )
)
