# ViT-S/16 on ImageNet with MAN++ in little memory: y passes one layer, as in the paper (the released code has two), and
# both blocks are recomputed. It needs a fifth of end to end's memory, but recomputation alone brings most of that:
# see docs/en/results.md.
# Twin: vit_small_e2e_imagenet.py
_base_ = './vit_small_manpp_k4_imagenet.py'
model = dict(
    backbone=dict(
        with_cp=[1, 2],
        partition=dict(_delete_=True, ends=['layers.4']),
        auxiliary=dict(num_layers=1),
    )
)
