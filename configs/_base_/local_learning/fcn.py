# MAN++ on segmentation: the auxiliary network, and for each block but the last an FCN head with one convolution to 512
# channels, as InfoPro's code has it for Cityscapes. The configs copy the two dicts from here: to change one of them,
# change it in `model.backbone`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
    local_head=dict(
        type='mmman.SegmentationLocalHead',
        head=dict(
            type='FCNHead',
            num_convs=1,
            channels=512,
            concat_input=False,
            dropout_ratio=0.1,
            num_classes=19,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        ),
    ),
)
