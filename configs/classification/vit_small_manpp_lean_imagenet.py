# ViT-S/16 on ImageNet with MAN++ in little memory: y passes one layer, as in the paper (the released code has two), and
# all blocks are recomputed.
_base_ = './vit_small_manpp_k4_imagenet.py'
model = dict(
    backbone=dict(
        with_cp=[1, 2, 3],
        partition=dict(_delete_=True, ends=['layers.3', 'layers.7']),
        auxiliary=dict(num_layers=1),
    )
)
