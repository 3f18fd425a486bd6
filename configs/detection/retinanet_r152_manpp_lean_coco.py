# RetinaNet-R152 on COCO with MAN++ in little memory. See retinanet_r50_manpp_lean_coco.py; the ends are the planner's
# for 8 images of 1000x600.
# Twin: retinanet_r152_e2e_coco.py
_base_ = '../retinanet_r50_manpp_lean_coco.py'
model = dict(
    backbone=dict(backbone=dict(depth=152), partition=dict(ends=['layer3.1', 'layer3.11', 'layer3.21', 'layer3.31'])),
)
