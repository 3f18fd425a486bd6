# RetinaNet-R18 on COCO, end to end, from scratch (paper, Table IV; recipe of the released code).
# Twin: retinanet_r18_manpp_coco.py
_base_ = '../retinanet_r50_e2e_coco.py'
model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
