# ResNet-152 on ImageNet, end to end (paper, Table II). Twin: resnet152_infopro_manpp_k2_imagenet.py
_base_ = './resnet101_e2e_imagenet.py'
model = dict(backbone=dict(depth=152))
