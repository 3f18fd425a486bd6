# DeepLabV3-R50 on Cityscapes, InfoPro with MAN++, from scratch, in the paper's recipe: SGD 0.8, 128 images of 768 x 768
# a step, 4,000 iterations (paper, section on segmentation; the loss weights, not in its text at hand, are InfoPro's for
# 8 images). Twin: deeplabv3_r50_e2e_paper_cityscapes.py
_base_ = ['./deeplabv3_r50_e2e_paper_cityscapes.py', '../_base_/local_learning/infopro_segmentation.py']
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
