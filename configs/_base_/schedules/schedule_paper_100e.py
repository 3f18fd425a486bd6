# The paper's recipe for COCO: Adam, 64 images a step, 100 epochs. What the paper's text at hand does not give is ours:
# the learning rate (1e-4), its steps (/10 at two thirds and eight ninths, as in the released code), no weight decay,
# no clipping, no warm-up.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=100, by_epoch=True, milestones=[67, 89], gamma=0.1),
]

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))

auto_scale_lr = dict(enable=False, base_batch_size=64)
