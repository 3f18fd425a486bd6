# DeepLabV3-R50 on Cityscapes with MAN++ and FCN local heads: four blocks, one for each stage, from scratch (ours). The
# model's own FCN auxiliary head now sits on a detached feature: it teaches the backbone nothing and trains itself only,
# but stays, so that the checkpoint is complete. Twin: ../deeplabv3_r50_e2e_cityscapes.py
_base_ = '../deeplabv3_r50_manpp_cityscapes.py'
model = dict(backbone=dict(partition=dict(_delete_=True, num_blocks=4)))
