# DeepLabV3+-R50 on Cityscapes with MAN++ and an FCN local head, from scratch. Two blocks, of which the first ends after
# the third of the six units of stage 3, the counterpart of InfoPro's split for R101: the FCN auxiliary head on stage 3
# belongs to block 2, with its gradient, while the first stage's output reaches the decoder detached. The paper has this
# net with InfoPro's local head only; this host is ours.
# Twin: deeplabv3plus_r50_e2e_cityscapes.py, of which everything below is the difference.
_base_ = ['./deeplabv3plus_r50_e2e_cityscapes.py', '../_base_/local_learning/fcn.py']
custom_imports = dict(imports=['mmman'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmman.LocalBackbone',
        backbone={{_base_.model.backbone}},
        partition=dict(ends=['layer3.2']),
        auxiliary={{_base_.local_learning.auxiliary}},
        local_head={{_base_.local_learning.local_head}},
    )
)
