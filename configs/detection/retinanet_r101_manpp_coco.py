# RetinaNet-R101 on COCO with MAN++, four blocks, from scratch (paper, Table IV; recipe of the released code).
# Twin: retinanet_r101_e2e_coco.py
_base_ = '../retinanet_r50_manpp_coco.py'
model = dict(backbone=dict(backbone=dict(depth=101)))
