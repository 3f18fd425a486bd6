# ResNet-110 on CIFAR-10, DGL with MAN++, K=55: the stem and every residual unit (paper, Table I).
# Twin: resnet110_e2e_cifar10.py
_base_ = './resnet32_dgl_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        backbone=dict(depth=110),
        partition=dict(num_blocks=55),
    )
)
