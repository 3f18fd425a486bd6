# RetinaNet-R50 on COCO with MAN++: four blocks, one for each stage, from scratch (released code; paper, Table IV).
# Twin: retinanet_r50_e2e_coco.py, of which everything below is the difference.
_base_ = ['./retinanet_r50_e2e_coco.py', './_base_/local_learning/retina.py']
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
