# ResNet-101 on ImageNet, InfoPro with MAN++, K=4 (paper, Tables II, III and VII; released code).
# Twin: resnet101_e2e_imagenet.py
_base_ = './resnet101_infopro_manpp_k2_imagenet.py'
model = dict(
    backbone=dict(
        partition=dict(ends=['layer2.2', 'layer3.8', 'layer3.16']),
        local_head=[
            {{_base_.local_learning.local_head}},
            {{_base_.local_learning.deeper_local_head}},
            {{_base_.local_learning.deeper_local_head}},
        ],
    )
)
