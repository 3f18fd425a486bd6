# ViT-B/16 on ImageNet, end to end (paper, Table II; recipe of the released code). Twin: vit_base_manpp_k4_imagenet.py
_base_ = './vit_tiny_e2e_imagenet.py'
model = dict(backbone=dict(arch='deit-base'), head=dict(in_channels=768))
