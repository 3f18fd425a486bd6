# RetinaNet-R101 on COCO, end to end, from scratch (paper, Table IV; recipe of the released code).
# Twin: retinanet_r101_manpp_coco.py
_base_ = '../retinanet_r50_e2e_coco.py'
model = dict(backbone=dict(depth=101))
