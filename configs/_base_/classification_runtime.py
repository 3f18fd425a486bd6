# mmpretrain's runtime; a checkpoint every ten epochs, the last three are kept.
_base_ = 'mmpretrain::_base_/default_runtime.py'
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
