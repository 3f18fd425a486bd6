# The recipe for ResNets on ImageNet (paper and released code): 90 epochs of SGD, 1024 images a step, learning rate 0.4
# along a cosine, no warm-up, no label smoothing. Nesterov momentum is stated for small images only: not used here. That
# the cosine goes by iteration is ours.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=90, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=1024)
