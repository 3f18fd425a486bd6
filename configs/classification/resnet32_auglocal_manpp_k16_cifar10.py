# ResNet-32 on CIFAR-10, AugLocal with MAN++ (ours; neither paper has both). K=16 in AugLocal's count of layers: the
# last four of them, d + 1, are one block with the output, which leaves 13 blocks. d=3 of the released 1, 3 and 5.
# Twin: resnet32_e2e_cifar10.py
_base_ = './resnet32_dgl_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        partition=dict(
            _delete_=True,
            ends=['stem', *(f'layer{i}.{j}' for i in (1, 2) for j in range(5)), 'layer3.0'],
        ),
        local_head=dict(
            _delete_=True,
            type='mmman.AugLocalHead',
            depth=3,
            head=dict(type='LinearClsHead', num_classes=10),
        ),
    )
)
