# MAN++ on vision transformers, as released: y passes two layers (the paper has one), and the local head is a layer
# norm and a classifier on the class token. The configs copy the dicts from here: to change one, change it in
# `model.backbone`.
_base_ = './runtime.py'
local_learning = dict(
    auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995, num_layers=2),
    local_head=dict(type='mmman.ClassificationLocalHead', head=dict(type='LinearClsHead', num_classes=1000)),
)
