# RetinaNet-R18 with MAN++ on the blood-cell photos in demo/data: four blocks, one for each stage, from scratch.
# Twin: retinanet_r18_e2e_bccd.py
_base_ = ['./retinanet_r18_e2e_bccd.py', './_base_/local_learning.py']
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
