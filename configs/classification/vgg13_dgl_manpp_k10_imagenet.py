# VGG-13 with batch norm on ImageNet, DGL with MAN++, K=10: every convolution, the last one with the classifier (paper,
# Table II; no code was released: the ends are AugLocal's, the norm is ours).
# Twin: vgg13_e2e_imagenet.py
_base_ = ['./vgg13_e2e_imagenet.py', '../_base_/local_learning/dgl.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(num_blocks=10, by='unit'),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head=dict(type='mmman.DGLLocalHead', head=dict(type='LinearClsHead', num_classes=1000)),
    )
)
