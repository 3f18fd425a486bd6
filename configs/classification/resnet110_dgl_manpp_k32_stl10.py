# ResNet-110 on STL-10, DGL with MAN++, K=32 in the paper: by our count 33 blocks, the stem one of them (paper, Table I;
# ends ours).
# Twin: resnet110_e2e_stl10.py
_base_ = ['./resnet110_dgl_manpp_k55_stl10.py', '../_base_/local_learning/ends_resnet110_k32.py']
model = dict(backbone=dict(partition=dict(_delete_=True, ends={{_base_.ends}})))
