# ResNet-110 on SVHN, end to end (paper, Table I). Twin: resnet110_dgl_manpp_k55_svhn.py
_base_ = './resnet32_e2e_svhn.py'
model = dict(backbone=dict(depth=110))
