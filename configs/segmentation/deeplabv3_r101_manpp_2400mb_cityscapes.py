# deeplabv3_r101_e2e_cityscapes, planned for 2400 MB, batches of 2 images of 512x1024, single precision.
# Expected: MAN++, K=2 (9 full, 6 selective): 2395 MB (blocks 2381, 2395), 0.26 of end to end, at 1.149 of its flops.
_base_ = 'deeplabv3_r101_e2e_cityscapes.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer3.18']),
    with_cp=dict(
        full=[
            'stem-layer1.2',
            'layer2.0-layer2.3',
            'layer3.0-layer3.3',
            'layer3.5-layer3.7',
            'layer3.8-layer3.10',
            'layer3.11-layer3.14',
            'layer3.19-layer3.22',
            'layer4.0',
        ],
        selective=['layer3.4', 'layer3.15-layer3.18', 'local.layer3_18', 'layer4.1-layer4.2'],
    ),
    recompute=dict(
        full=['decode_head.aspp_modules.0'],
        selective=['decode_head.aspp_modules.1', 'decode_head.aspp_modules.2'],
    ),
    drop_outputs=[0, 1],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=2394867016, smaller=2271929226))
