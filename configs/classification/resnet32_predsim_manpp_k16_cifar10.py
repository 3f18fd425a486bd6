# ResNet-32 on CIFAR-10, PredSim with MAN++, K=16: the stem and every residual unit (ours; MAN had it as a host, the
# MAN++ paper has not). Weights and pooled size are those of AugLocal's code; one recipe for all blocks instead of
# PredSim's Adam. Twin: resnet32_e2e_cifar10.py
_base_ = './resnet32_dgl_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        local_head=dict(_delete_=True, type='mmman.PredSimLocalHead', head=dict(type='LinearClsHead', num_classes=10))
    )
)
