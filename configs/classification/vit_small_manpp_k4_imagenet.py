# ViT-S/16 on ImageNet with MAN++, K=4 (paper, Table II; released code). Twin: vit_small_e2e_imagenet.py
_base_ = './vit_tiny_manpp_k4_imagenet.py'
model = dict(backbone=dict(backbone=dict(arch='deit-small')), head=dict(in_channels=384))
