# RetinaNet-R50 on COCO with MAN++, from scratch, in the paper's recipe: Adam, batch 64, 100 epochs (paper, section on
# detection; learning rate ours, see the schedule). Twin: retinanet_r50_e2e_paper_coco.py
_base_ = ['./retinanet_r50_e2e_paper_coco.py', '../_base_/local_learning/retina.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(num_blocks=4),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
