# DeepLabV3-R18 with 128 channels on the 26 photos in demo/data/coco_free, end to end, from scratch.
# Twin: deeplabv3_r18_manpp_coco_free.py
_base_ = ['../../configs/_base_/models/deeplabv3_r50.py', '../../configs/_base_/segmentation_runtime.py']
crop_size = (192, 192)
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=crop_size),
    # Output stride 16 in place of 8: a third of the computation. At this size the dilations are a quarter of the usual.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), norm_cfg=norm_cfg),
    decode_head=dict(in_channels=512, channels=128, dilations=(1, 3, 6, 9), num_classes=12, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=12, norm_cfg=norm_cfg),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(320, 320), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# The labels are loaded behind the resizing: they keep their size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
data_root = '{{$MMMAN_COCO_FREE_ROOT:demo/data/coco_free/}}'
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='train2017', seg_map_path='ann_dir/train2017'),
    metainfo=dict(
        classes=(
            'person',
            'vehicle',
            'animal',
            'food',
            'furniture',
            'object',
            'building',
            'ground',
            'wall',
            'vegetation',
            'sky',
            'water',
        ),
        palette=[
            [220, 20, 60],
            [0, 0, 142],
            [255, 128, 0],
            [255, 215, 0],
            [153, 51, 102],
            [0, 220, 220],
            [70, 70, 70],
            [128, 64, 128],
            [190, 153, 153],
            [107, 142, 35],
            [70, 130, 180],
            [0, 60, 255],
        ],
    ),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dataset,
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset={
        **dataset,
        'data_prefix': dict(img_path='val2017', seg_map_path='ann_dir/val2017'),
        'test_mode': True,
        'pipeline': test_pipeline,
    },
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=40, end=200, T_max=160, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=10))
randomness = dict(seed=0)
