# InfoPro with MAN++ on ImageNet, as released: the classifier has four convolutions, the decoder comes back to 224 x 224
# from 28 x 28 (y in layer2) or 14 x 14 (`deeper_local_head`: y in layer3; the strides 1 and 2 of its 3x3 convolutions
# are ours). The configs copy the dicts from here: to change one, change it in `model.backbone`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
    local_head=dict(
        type='mmman.InfoProLocalHead',
        task=dict(
            type='mmman.ClassificationLocalHead',
            convs=[(128, 1, 1), (256, 3, 2), (512, 3, 2), (2048, 1, 1)],
            head=dict(type='LinearClsHead', num_classes=1000),
        ),
        decoder=dict(project=128, channels=[32, 12]),
        reconstruction_weight=5.0,
        task_weight=0.75,
    ),
    deeper_local_head=dict(
        type='mmman.InfoProLocalHead',
        task=dict(
            type='mmman.ClassificationLocalHead',
            convs=[(256, 1, 1), (256, 3, 1), (512, 3, 2), (2048, 1, 1)],
            head=dict(type='LinearClsHead', num_classes=1000),
        ),
        decoder=dict(project=128, channels=[64, 32, 12]),
        reconstruction_weight=5.0,
        task_weight=0.75,
    ),
)
