# DeepLabV3+-R50 on Cityscapes, InfoPro with MAN++, from scratch (paper, Tables V and VI; local head and recipe of
# InfoPro's released code, which has R101 only: the split is its counterpart, after half of stage 3).
# Twin: deeplabv3plus_r50_e2e_cityscapes.py
_base_ = ['./deeplabv3plus_r50_e2e_cityscapes.py', '../_base_/local_learning/infopro_segmentation.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(ends=['layer3.2']),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
