# ResNeXt-101 32x8d on ImageNet, InfoPro with MAN++, K=4, 512 images a step (paper, Tables II and III; released code).
# Twin: resnext101_e2e_imagenet.py
_base_ = './resnet101_infopro_manpp_k4_imagenet.py'
model = dict(backbone=dict(backbone=dict(type='ResNeXt', groups=32, width_per_group=8)))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
