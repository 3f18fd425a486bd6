# DeepLabV3-R101 on Cityscapes with MAN++ in little memory. See deeplabv3_r50_manpp_lean_cityscapes.py.
# Twin: deeplabv3_r101_e2e_cityscapes.py
_base_ = './deeplabv3_r50_manpp_lean_cityscapes.py'
model = dict(
    backbone=dict(
        backbone=dict(depth=101),
        with_cp=[1, 2, 3],
        partition=dict(ends=['layer3.6', 'layer3.20']),
    )
)
