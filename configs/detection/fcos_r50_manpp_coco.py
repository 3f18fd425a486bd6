# mmdet's own FCOS-R50 1x config (caffe weights, frozen stage 1, norm_eval) with MAN++ in three blocks and light FCOS
# heads as local heads. Twin: mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py
_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'
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
