# ResNeXt-101 32x8d on ImageNet, end to end, 512 images a step (paper, Table II).
# Twin: resnext101_infopro_manpp_k2_imagenet.py
_base_ = './resnet101_e2e_imagenet.py'
model = dict(backbone=dict(type='ResNeXt', groups=32, width_per_group=8))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
