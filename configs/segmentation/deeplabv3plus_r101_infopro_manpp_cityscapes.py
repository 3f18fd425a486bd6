# DeepLabV3+-R101 on Cityscapes, InfoPro with MAN++, from scratch (paper, Tables V and VI; local head, split and recipe
# of InfoPro's released code). Twin: deeplabv3plus_r101_e2e_cityscapes.py
_base_ = './deeplabv3plus_r50_infopro_manpp_cityscapes.py'
model = dict(backbone=dict(backbone=dict(depth=101), partition=dict(ends=['layer3.12'])))
