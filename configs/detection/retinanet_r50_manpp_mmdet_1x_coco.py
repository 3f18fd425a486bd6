# mmdet's own RetinaNet-R50 1x config (ImageNet weights, frozen stage 1, norm_eval, 800/1333 px) with MAN++ and light
# local heads: the lines that any config takes. Three blocks, because stage 1 does not learn.
# Twin: mmdet::retinanet/retinanet_r50_fpn_1x_coco.py
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(num_blocks=3)

# mmdet's data settings, in the folder that MMMAN_COCO_ROOT names.
data_root = '{{$MMMAN_COCO_ROOT:data/coco/}}'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root.rstrip('/') + '/annotations/instances_val2017.json')
test_evaluator = val_evaluator
