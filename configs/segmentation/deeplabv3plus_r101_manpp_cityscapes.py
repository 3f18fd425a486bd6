# DeepLabV3+-R101 on Cityscapes with MAN++ and an FCN local head, from scratch (ours). Two blocks, of which the first
# ends after 13 of the 23 units of stage 3, as in InfoPro's released code. Twin: deeplabv3plus_r101_e2e_cityscapes.py
_base_ = './deeplabv3plus_r50_manpp_cityscapes.py'
model = dict(backbone=dict(backbone=dict(depth=101), partition=dict(ends=['layer3.12'])))
