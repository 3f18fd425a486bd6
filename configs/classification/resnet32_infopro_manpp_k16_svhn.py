# ResNet-32 on SVHN, InfoPro with MAN++, K=16: the stem and every residual unit (paper, Table I; local heads as on
# CIFAR-10).
# Twin: resnet32_e2e_svhn.py
_base_ = ['./resnet32_e2e_svhn.py', '../_base_/local_learning/infopro.py']
custom_imports = dict(imports=['mmman', 'mmman.classification'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(num_blocks=16, by='unit'),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
