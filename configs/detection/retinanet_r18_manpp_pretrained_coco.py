# RetinaNet-R18 on COCO with MAN++, four blocks, from torchvision's ImageNet weights, as the released code (the paper's
# Table IV starts from its own). Twin: retinanet_r18_e2e_pretrained_coco.py
_base_ = './retinanet_r18_manpp_coco.py'
model = dict(
    backbone=dict(
        backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='torchvision://resnet18')),
    )
)
