# deeplabv3_r50_e2e_cityscapes, planned for 2000 MB, batches of 2 images of 512x1024, single precision.
# Expected: MAN++, K=2 (7 full, 5 selective): 1994 MB (blocks 1994, 1974), 0.36 of end to end, at 1.142 of its flops.
_base_ = '../deeplabv3_r50_e2e_cityscapes.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer3.3']),
    with_cp=dict(
        full=['stem-layer1.2', 'layer2.0-layer2.1', 'layer3.4-layer3.5', 'layer4'],
        selective=['layer2.2-layer2.3', 'layer3.0-layer3.3', 'local.layer3_3'],
    ),
    recompute=dict(
        full=['decode_head.aspp_modules.0'],
        selective=['decode_head.aspp_modules.1', 'decode_head.aspp_modules.2'],
    ),
    drop_outputs=[0, 1],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=1994190106))
