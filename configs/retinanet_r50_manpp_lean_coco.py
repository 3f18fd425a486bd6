# RetinaNet-R50 on COCO with MAN++ in little memory: lean losses, light local heads, the first block recomputed.
# Twin: retinanet_r50_e2e_coco.py
_base_ = './retinanet_r50_manpp_coco.py'
loss_cls = dict(type='mmman.LeanFocalLoss')
model = dict(
    backbone=dict(
        # Stage 1's output, which the neck leaves alone (start_level=1), would stay alive until the neck runs.
        backbone=dict(out_indices=(1, 2, 3)),
        with_cp=[1],
        partition=dict(_delete_=True, ends=['layer2', 'layer3']),
        local_head=dict(channels=128, head=dict(feat_channels=128, stacked_convs=1, loss_cls=loss_cls)),
    ),
    neck=dict(in_channels=[512, 1024, 2048], start_level=0),
    bbox_head=dict(loss_cls=loss_cls),
)
