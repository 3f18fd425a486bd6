# DeepLabV3-R18 with MAN++ on the photos in demo/data/coco_free: two blocks, cut inside layer3, from scratch.
# Twin: deeplabv3_r18_e2e_coco_free.py
_base_ = ['./deeplabv3_r18_e2e_coco_free.py', '../../configs/_base_/local_learning/runtime.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(ends=['layer3.0']),
        auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
        local_head=dict(
            type='mmman.SegmentationLocalHead',
            head=dict(
                type='FCNHead',
                channels=64,
                num_convs=1,
                concat_input=False,
                num_classes=12,
                norm_cfg=dict(type='BN', requires_grad=True),
                align_corners=False,
            ),
        ),
    )
)
model_wrapper_cfg = dict(type='mmman.LocalDistributedDataParallel')
