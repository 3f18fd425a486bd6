# ViT-Ti/16 on ImageNet, end to end (paper, Table II; recipe of the released code). Twin: vit_tiny_manpp_k4_imagenet.py
_base_ = [
    '../_base_/models/imagenet_vit_tiny.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_vit_90e.py',
    '../_base_/classification_runtime.py',
]
