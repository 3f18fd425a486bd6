# RetinaNet-R18 with 128 channels on the 205 blood-cell photos in demo/data, end to end, from scratch: two and a half
# minutes on two cores. Twin: retinanet_r18_manpp_bccd.py
_base_ = ['../../configs/_base_/models/retinanet_r50.py', '../../configs/_base_/default_runtime.py']
model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    bbox_head=dict(num_classes=3, in_channels=128, feat_channels=128),
)

data_root = '{{$MMMAN_BCCD_ROOT:demo/data/bccd_coco/}}'
dataset = dict(
    type='CocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    metainfo=dict(classes=('WBC', 'RBC', 'Platelets')),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(320, 240), keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ],
)
train_dataloader = dict(
    batch_size=4, num_workers=2, persistent_workers=True, sampler=dict(type='InfiniteSampler'), dataset=dataset
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset={
        **dataset,
        'ann_file': 'annotations/instances_val2017.json',
        'data_prefix': dict(img='val2017/'),
        'test_mode': True,
        'pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(320, 240), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    },
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric='bbox')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=300, val_interval=300)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
    # At the full rate a step moves every logit at once: the loss of these towers, which have no norms, jumps, and does
    # not always come back (docs/en/results.md).
    paramwise_cfg=dict(custom_keys={'bbox_head': dict(lr_mult=0.3)}),
)
param_scheduler = [
    # A long warm-up: the first steps of a network that starts from nothing are what it can fail on here.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=300, T_max=200, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=300), logger=dict(interval=10))
randomness = dict(seed=0)
