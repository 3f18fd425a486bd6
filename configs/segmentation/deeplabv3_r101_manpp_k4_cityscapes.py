# DeepLabV3-R101 on Cityscapes with MAN++ and FCN local heads: four blocks, one for each stage, from scratch (ours). The
# model's own FCN auxiliary head trains itself only, see the R50 config. Twin: deeplabv3_r101_e2e_cityscapes.py
_base_ = './deeplabv3_r50_manpp_k4_cityscapes.py'
model = dict(backbone=dict(backbone=dict(depth=101)))
