# ResNet-110 on CIFAR-10, InfoPro with MAN++, K=32 in the paper: by our count 33 blocks, the stem one of them (paper,
# Table I; ends ours). Weights: the released code's at this K.
# Twin: resnet110_e2e_cifar10.py
_base_ = ['./resnet110_infopro_manpp_k55_cifar10.py', '../_base_/local_learning/ends_resnet110_k32.py']
model = dict(
    backbone=dict(
        partition=dict(_delete_=True, ends={{_base_.ends}}),
        local_head=dict(reconstruction_weight=[4.83, 4.5], task_weight=[0.483, 0.45]),
    )
)
