# The released MAN++ recipe for COCO: SGD 0.01, 16 images a step, 90,000 iterations, /10 at 60k and 80k, no warm-up.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=90000, by_epoch=False, milestones=[60000, 80000], gamma=0.1),
]

# Gradients are clipped to norm 1. The released code takes the norm over all blocks together, mmman one for each block.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=1.0),
)

auto_scale_lr = dict(enable=False, base_batch_size=16)
