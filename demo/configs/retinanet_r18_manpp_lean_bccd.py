# The same in little memory, with the settings of configs/retinanet_r50_manpp_lean_coco.py.
_base_ = './retinanet_r18_manpp_bccd.py'
loss_cls = dict(type='mmman.LeanFocalLoss')
model = dict(
    backbone=dict(
        backbone=dict(out_indices=(1, 2, 3)),
        with_cp=[1],
        partition=dict(_delete_=True, ends=['layer2', 'layer3']),
        local_head=dict(channels=128, head=dict(feat_channels=128, stacked_convs=1, loss_cls=loss_cls)),
    ),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
    bbox_head=dict(loss_cls=loss_cls),
)
