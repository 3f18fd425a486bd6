# mmdet's RetinaNet-R50-FPN with nothing frozen: every stage and every BatchNorm trains, from scratch.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None))
