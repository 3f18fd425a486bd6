# InfoPro with MAN++ on segmentation: beside the FCN head of fcn.py a decoder (128, 32, 12, 3 channels, each step at
# twice the size) that has to reconstruct the image. The weights are those of InfoPro's code for Cityscapes with 8
# images of 512 x 1024 a step; it has 1 and 0.1 for 12 images, 2 and 1 for crops of 640 x 1280.
_base_ = './fcn.py'
local_learning = dict(
    local_head=dict(
        _delete_=True,
        type='mmman.InfoProLocalHead',
        task={{_base_.local_learning.local_head}},
        decoder=dict(project=128, channels=[32, 12], norm_cfg=dict(type='SyncBN', requires_grad=True)),
        reconstruction_weight=1.5,
        task_weight=1.0,
    )
)
