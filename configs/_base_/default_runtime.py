# mmdet's runtime, counted in iterations: a checkpoint at every validation, the last three are kept.
_base_ = 'mmdet::_base_/default_runtime.py'
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
