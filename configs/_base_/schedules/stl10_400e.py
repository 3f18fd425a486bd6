# The recipe for small images with STL-10's batch and learning rate (paper and released code). The warm-up starts at the
# same 0.01.
_base_ = './small_images_400e.py'
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=10, end=400, T_max=390, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128)
