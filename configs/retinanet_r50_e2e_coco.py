# RetinaNet-R50 on COCO, end to end, from scratch, in the released MAN++ recipe (released code; paper, Table IV).
# Twin: retinanet_r50_manpp_coco.py
_base_ = [
    './_base_/models/retinanet_r50.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/schedule_90k.py',
    './_base_/default_runtime.py',
]
