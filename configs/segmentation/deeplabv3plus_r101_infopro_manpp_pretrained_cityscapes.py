# DeepLabV3+-R101 on Cityscapes, InfoPro with MAN++, from OpenMMLab's ImageNet weights (paper, Table V, second half;
# which weights it starts from is not in the text at hand). Twin: deeplabv3plus_r101_e2e_pretrained_cityscapes.py
_base_ = './deeplabv3plus_r101_infopro_manpp_cityscapes.py'
model = dict(
    backbone=dict(
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet101_v1c')),
    )
)
