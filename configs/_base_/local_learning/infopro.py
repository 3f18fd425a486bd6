# InfoPro softmax with MAN++ on small images, ten classes: the local loss of the released code (classifier of two
# convolutions; decoder). Its weights are said to go from 5 and 0.5 to 0, but by a slip they hardly move: from 4.64 and
# 0.464 to 3.93 and 0.393 at K=16. What was trained stands here; taken at their word, the last local head would have no
# loss. The configs copy the dicts from here: to change one, change it in `model.backbone`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
    local_head=dict(
        type='mmman.InfoProLocalHead',
        task=dict(type='mmman.InfoProClassifier', head=dict(type='LinearClsHead', num_classes=10)),
        decoder=dict(channels=[12], upsampling='first'),
        reconstruction_weight=[4.64, 3.93],
        task_weight=[0.464, 0.393],
    ),
)
