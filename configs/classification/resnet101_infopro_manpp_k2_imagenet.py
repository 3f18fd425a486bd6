# ResNet-101 on ImageNet, InfoPro with MAN++, K=2 (paper, Table II; released code). Twin: resnet101_e2e_imagenet.py
_base_ = ['./resnet101_e2e_imagenet.py', '../_base_/local_learning/infopro_imagenet.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(ends=['layer2.0']),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
