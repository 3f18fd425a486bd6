# mmpretrain's runtime; a checkpoint every ten epochs, the last three are kept, exact to resume
# from.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(type='mmman.ExactCheckpointHook', interval=10, max_keep_ckpts=3))
