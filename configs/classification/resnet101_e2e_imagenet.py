# ResNet-101 on ImageNet, end to end (paper, Table II). Twin: resnet101_infopro_manpp_k2_imagenet.py
_base_ = [
    '../_base_/models/imagenet_resnet101.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_resnet_90e.py',
    '../_base_/classification_runtime.py',
]
