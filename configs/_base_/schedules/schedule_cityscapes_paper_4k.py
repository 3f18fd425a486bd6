# The paper's recipe for Cityscapes: SGD 0.8 with momentum 0.9, 128 images a step, 4,000 iterations. What the paper's
# text at hand does not give is taken from InfoPro (poly decay of power 0.9, weight decay 5e-4) and mmseg (the decay
# ends at 1e-4). It names neither warm-up nor clipping: there is none.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=400)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=4000, by_epoch=False)]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.8, momentum=0.9, weight_decay=0.0005),
    clip_grad=None,
)

auto_scale_lr = dict(enable=False, base_batch_size=128)
