# retinanet_r50_e2e_coco, planned for 6000 MB, batches of 16 images of 600x1000, single precision.
# Expected: MAN++, K=2 (10 full, 2 selective): 5966 MB (blocks 5966, 5149), 0.28 of end to end, at 1.114 of its flops.
_base_ = 'retinanet_r50_e2e_coco.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer4.0']),
    with_cp=dict(
        full=['layer1', 'layer2', 'layer3.0-layer3.1', 'layer3.2-layer3.3'],
        selective=['layer3.4-layer3.5', 'layer4.0'],
    ),
    drop_outputs=[0],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=5965694232, smaller=5663775996))
