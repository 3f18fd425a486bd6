# vit_small_e2e_imagenet, planned for 2000 MB, batches of 128 images of 224x224, single precision.
# Expected: end to end (10 full, 1 selective): 1954 MB, 0.24 of end to end, at 1.183 of its flops.
_base_ = 'vit_small_e2e_imagenet.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    num_blocks=1,
    with_cp=dict(
        full=[
            'layers.1',
            'layers.2',
            'layers.3',
            'layers.4',
            'layers.5',
            'layers.6',
            'layers.7',
            'layers.8',
            'layers.9',
            'layers.10',
        ],
        selective=['stem-layers.0'],
    ),
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=1953667328, smaller=1605277952))
