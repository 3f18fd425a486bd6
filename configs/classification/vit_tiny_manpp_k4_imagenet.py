# ViT-Ti/16 on ImageNet with MAN++, K=4 (paper, Table II; released code). Twin: vit_tiny_e2e_imagenet.py
_base_ = ['./vit_tiny_e2e_imagenet.py', '../_base_/local_learning/vit.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(num_blocks=4),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
