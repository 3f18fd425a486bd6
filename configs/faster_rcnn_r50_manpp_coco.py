# mmdet's own Faster R-CNN-R50 1x config with MAN++ in three blocks and RetinaNet heads as local heads: a two-stage
# detector needs nothing else. Twin: mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', './_base_/local_learning/retina.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        # Stem and stage 1 are frozen: the first block goes on to stage 2, so that it has something to train.
        partition=dict(ends=['layer2', 'layer3']),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head=dict(
            type='mmman.DetectionLocalHead',
            channels=256,
            head={{_base_.local_learning.local_head.head}},
            train_cfg={{_base_.local_learning.local_head.train_cfg}},
            num_classes={{_base_.model.roi_head.bbox_head.num_classes}},
        ),
    )
)

# mmdet's data settings, in the folder that MMMAN_COCO_ROOT names.
data_root = '{{$MMMAN_COCO_ROOT:data/coco/}}'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root.rstrip('/') + '/annotations/instances_val2017.json')
test_evaluator = val_evaluator
