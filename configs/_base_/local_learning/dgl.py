# DGL with MAN++, ten classes. The configs copy the dicts from here: to change one, change it in `model.backbone`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
    local_head=dict(type='mmman.DGLLocalHead', head=dict(type='LinearClsHead', num_classes=10)),
)
