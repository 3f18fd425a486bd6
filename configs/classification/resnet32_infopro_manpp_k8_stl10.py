# ResNet-32 on STL-10, InfoPro with MAN++, K=8 in the paper: by our count 9 blocks, as released, the stem one of them
# (paper, Table I). Weights: the released code's at this K.
# Twin: resnet32_e2e_stl10.py
_base_ = ['./resnet32_infopro_manpp_k16_stl10.py', '../_base_/local_learning/ends_resnet32_k8.py']
model = dict(
    backbone=dict(
        partition=dict(_delete_=True, ends={{_base_.ends}}),
        local_head=dict(reconstruction_weight=[4.17, 2.5], task_weight=[0.417, 0.25]),
    )
)
