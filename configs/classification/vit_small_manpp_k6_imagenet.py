# ViT-S/16 on ImageNet with MAN++, K=6 (paper, Tables II and III; not released: as K=4). Twin: vit_small_e2e_imagenet.py
_base_ = './vit_small_manpp_k4_imagenet.py'
model = dict(backbone=dict(partition=dict(num_blocks=6)))
