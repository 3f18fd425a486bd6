# DeepLabV3+-R50 on Cityscapes, end to end, from OpenMMLab's ImageNet weights (paper, Table V, second half; which
# weights it starts from is not in the text at hand). Twin: deeplabv3plus_r50_infopro_manpp_pretrained_cityscapes.py
_base_ = './deeplabv3plus_r50_e2e_cityscapes.py'
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c')))
