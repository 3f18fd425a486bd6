# retinanet_r18_e2e_bccd, planned for 300 MB, batches of 4 images of 240x320, single precision.
# Expected: MAN++, K=2 (1 selective): 298 MB (blocks 298, 272), 0.81 of end to end, at 1.118 of its flops.
_base_ = 'retinanet_r18_e2e_bccd.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
runner_type = 'mmman.LocalRunner'
local_learning = dict(
    partition=dict(ends=['layer2.1']),
    with_cp=dict(selective=['stem-layer1.0']),
    drop_outputs=[0],
    lean=True,
)
default_hooks = dict(plan=dict(type='mmman.PlanHook', peak=298272644, smaller=282512673))
