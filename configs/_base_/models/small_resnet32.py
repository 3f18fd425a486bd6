# ResNet-32 for small images, ten classes.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmman.SmallResNet', depth=32),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
