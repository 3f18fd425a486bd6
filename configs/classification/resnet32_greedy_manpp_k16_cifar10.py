# ResNet-32 on CIFAR-10, greedy learning with MAN++, K=16: the stem and every residual unit; the local heads are no more
# than an average and a linear classifier (ours). Twin: resnet32_e2e_cifar10.py
_base_ = './resnet32_dgl_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        local_head=dict(
            _delete_=True, type='mmman.ClassificationLocalHead', head=dict(type='LinearClsHead', num_classes=10)
        )
    )
)
