# DeepLabV3+-R50 on Cityscapes, end to end, from scratch (paper, Tables V and VI; recipe of mmseg and of InfoPro's
# code). Twin: deeplabv3plus_r50_manpp_cityscapes.py
_base_ = [
    '../_base_/models/deeplabv3plus_r50.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/schedule_cityscapes_40k.py',
    '../_base_/segmentation_runtime.py',
]
