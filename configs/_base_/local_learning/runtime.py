# What all configs of local learning share. LocalRunner, which the train scripts of all toolboxes honour, gives every
# block an optimizer of its own, logs the local losses, and lets checkpoints resume exactly.
runner_type = 'mmman.LocalRunner'
model_wrapper_cfg = dict(type='mmman.LocalDistributedDataParallel')  # on several processes
