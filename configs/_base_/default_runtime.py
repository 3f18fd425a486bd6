# mmdet's runtime, counted in iterations: a checkpoint at every validation, the last three are kept, exact to resume
# from.
_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(type='mmman.ExactCheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
