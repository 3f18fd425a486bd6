# retinanet_r50_e2e_coco, planned for 6000 MB, batches of 16 images of 600x1000, single precision.
# Expected: MAN++, K=2 (7 full, 4 selective): 5977 MB (blocks 5977, 5975), 0.29 of end to end, at 1.108 of its flops.
_base_ = 'retinanet_r50_e2e_coco.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer3.2']),
    with_cp=dict(
        full=['layer1', 'layer2.0', 'layer2.1-layer2.2', 'layer2.3'],
        selective=['layer3.0-layer3.2', 'local.layer3_2', 'layer3.3-layer3.5', 'layer4.2'],
    ),
    drop_outputs=[0],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=5977256712, smaller=5659598304))
