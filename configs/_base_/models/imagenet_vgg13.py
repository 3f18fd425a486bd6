# VGG-13 with batch norm for ImageNet; the classifier is part of the backbone.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='VGG', depth=13, norm_cfg=dict(type='BN'), num_classes=1000),
    head=dict(type='ClsHead'),
)
