# VGG-13 with batch norm on ImageNet, end to end, 512 images a step (paper, Table II; the norm is ours).
# Twin: vgg13_dgl_manpp_k10_imagenet.py
_base_ = [
    '../_base_/models/imagenet_vgg13.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_resnet_90e.py',
    '../_base_/classification_runtime.py',
]
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
