# mmdet's own FCOS-R50 1x config (caffe weights, frozen stage 1, norm_eval) with MAN++ in three blocks, FCOS heads as
# local heads. Twin: mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py
_base_ = ['mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', '../_base_/local_learning/runtime.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        # Stem and stage 1 are frozen: the first block goes on to stage 2, so that it has something to train.
        partition=dict(ends=['layer2', 'layer3']),
        auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=0.995),
        # FCOSHead's default losses are those of the model's own head.
        local_head=dict(
            type='mmman.DetectionLocalHead',
            channels=256,
            head=dict(
                type='FCOSHead',
                num_classes=80,
                stacked_convs=2,
                feat_channels=256,
                strides=[8, 16, 32, 64, 128],
                regress_ranges=((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)),
            ),
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
