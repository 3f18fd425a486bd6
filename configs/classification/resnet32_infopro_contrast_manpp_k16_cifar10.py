# ResNet-32 on CIFAR-10, InfoPro contrast with MAN++, K=16: task head and weights are those of InfoPro's own code, in
# the place of those released with MAN++. MAN++ on it, and the recipe, are ours. Twin: resnet32_e2e_cifar10.py
_base_ = './resnet32_infopro_manpp_k16_cifar10.py'
model = dict(
    backbone=dict(
        local_head=dict(
            task=dict(num_convs=1, head=dict(_delete_=True, type='mmman.ContrastiveHead')),
            reconstruction_weight=[5.0, 0.2],
            task_weight=[0.05, 0.5],
        )
    )
)
