# ResNet-32 on SVHN, DGL with MAN++, K=8 in the paper: by our count 9 blocks, as released, the stem one of them (paper,
# Table I).
# Twin: resnet32_e2e_svhn.py
_base_ = ['./resnet32_dgl_manpp_k16_svhn.py', '../_base_/local_learning/ends_resnet32_k8.py']
model = dict(backbone=dict(partition=dict(_delete_=True, ends={{_base_.ends}})))
