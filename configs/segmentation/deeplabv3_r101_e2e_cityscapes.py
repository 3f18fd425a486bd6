# DeepLabV3-R101 on Cityscapes, end to end, from scratch (paper, Tables V and VI; recipe of mmseg and of InfoPro's
# code). Twin: deeplabv3_r101_manpp_cityscapes.py
_base_ = '../deeplabv3_r50_e2e_cityscapes.py'
model = dict(backbone=dict(depth=101))
