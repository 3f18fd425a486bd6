# ResNet-110 on STL-10, end to end (paper, Table I). Twin: resnet110_dgl_manpp_k55_stl10.py
_base_ = './resnet32_e2e_stl10.py'
model = dict(backbone=dict(depth=110))
