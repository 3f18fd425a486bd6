# ResNet-101 for ImageNet. Norms start at 1, the last one of a unit too, as in the released code.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=101, num_stages=4, out_indices=(3,), zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048),
)
