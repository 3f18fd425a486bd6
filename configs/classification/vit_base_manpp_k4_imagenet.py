# ViT-B/16 on ImageNet with MAN++, K=4 (paper, Table II; released code). Twin: vit_base_e2e_imagenet.py
_base_ = './vit_tiny_manpp_k4_imagenet.py'
model = dict(backbone=dict(backbone=dict(arch='deit-base')), head=dict(in_channels=768))
