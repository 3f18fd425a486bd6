# mmdet's own RetinaNet-R50 1x config (ImageNet weights, frozen stage 1, norm_eval, 800/1333 px) with MAN++ in three
# blocks: how to add local learning to any config. Twin: mmdet::retinanet/retinanet_r50_fpn_1x_coco.py
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/local_learning/retina.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        # Stem and stage 1 are frozen: the first block goes on to stage 2, so that it has something to train.
        partition=dict(ends=['layer2', 'layer3']),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)

# mmdet's data settings, in the folder that MMMAN_COCO_ROOT names.
data_root = '{{$MMMAN_COCO_ROOT:data/coco/}}'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root.rstrip('/') + '/annotations/instances_val2017.json')
test_evaluator = val_evaluator
