# DeepLabV3-R50 on Cityscapes, end to end, from scratch, in the paper's recipe: SGD 0.8, 128 images of 768 x 768 a step,
# 4,000 iterations (paper, section on segmentation; what it does not give is in the schedule).
# Twin: deeplabv3_r50_infopro_manpp_paper_cityscapes.py
_base_ = [
    '../_base_/models/deeplabv3_r50.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/schedule_cityscapes_paper_4k.py',
    '../_base_/segmentation_runtime.py',
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(768, 768), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# On 8 GPUs, as in the paper.
train_dataloader = dict(batch_size=16, num_workers=4, dataset=dict(pipeline=train_pipeline))
model = dict(data_preprocessor=dict(size=(768, 768)))
default_hooks = dict(checkpoint=dict(interval=400))
