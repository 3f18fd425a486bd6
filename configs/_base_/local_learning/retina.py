# MAN++ on detection: the auxiliary network, and for each block but the last a RetinaNet head with towers of two
# 256-channel convs, as released. The strides are those of the model's pyramid, of which a local head keeps its own.
# The configs copy the two dicts from here: to change one of them, change it in `model.backbone`. For other classes than
# COCO's 80 set `num_classes` beside `head`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
    local_head=dict(
        type='mmman.DetectionLocalHead',
        channels=256,
        head=dict(
            type='RetinaHead',
            num_classes=80,
            stacked_convs=2,
            feat_channels=256,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=[8, 16, 32, 64, 128],
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
    ),
)
