# RetinaNet-R34 on COCO, end to end, from torchvision's ImageNet weights, as the released code (the paper's Table IV
# starts from its own). Twin: retinanet_r34_manpp_pretrained_coco.py
_base_ = './retinanet_r34_e2e_coco.py'
model = dict(backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='torchvision://resnet34')))
