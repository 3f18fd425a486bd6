# retinanet_r101_e2e_coco, planned for 6000 MB, batches of 16 images of 600x1000, single precision.
# Expected: MAN++, K=3 (11 full, 7 selective): 5984 MB (blocks 5984, 5982, 4995), 0.21 of end to end, at 1.154 of its
#   flops.
_base_ = 'retinanet_r101_e2e_coco.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer3.2', 'layer4.0']),
    with_cp=dict(
        full=['layer1', 'layer2', 'layer3.0-layer3.1', 'layer3.5-layer3.8', 'layer3.9-layer3.12'],
        selective=[
            'local.layer3_2',
            'layer3.3-layer3.4',
            'layer3.13-layer3.16',
            'layer3.17-layer3.20',
            'layer3.21-layer3.22',
            'layer4.0',
            'local.layer4_0',
        ],
    ),
    drop_outputs=[0],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=5983952516, smaller=5652900608))
