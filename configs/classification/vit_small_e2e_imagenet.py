# ViT-S/16 on ImageNet, end to end (paper, Table II; recipe of the released code). Twin: vit_small_manpp_k4_imagenet.py
_base_ = './vit_tiny_e2e_imagenet.py'
model = dict(backbone=dict(arch='deit-small'), head=dict(in_channels=384))
