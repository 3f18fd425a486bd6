# DeepLabV3-R50 on Cityscapes with MAN++ and an FCN local head, from OpenMMLab's ImageNet weights (ours).
# Twin: deeplabv3_r50_e2e_pretrained_cityscapes.py
_base_ = '../deeplabv3_r50_manpp_cityscapes.py'
model = dict(
    backbone=dict(
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c')),
    )
)
