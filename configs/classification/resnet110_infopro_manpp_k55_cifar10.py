# ResNet-110 on CIFAR-10, InfoPro with MAN++, K=55: the stem and every residual unit (paper, Table I). Weights: the
# released code's at this K.
# Twin: resnet110_e2e_cifar10.py
_base_ = './resnet32_infopro_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        backbone=dict(depth=110),
        partition=dict(num_blocks=55),
        local_head=dict(reconstruction_weight=[4.91, 4.72], task_weight=[0.491, 0.472]),
    )
)
