# DeepLabV3-R50 on Cityscapes with MAN++ in little memory: lean losses, light local heads, recomputation. Four
# blocks, of which the last begins in stage 3, where the FCN auxiliary head is; the planner's choice for 2 crops.
# Twin: ../deeplabv3_r50_e2e_cityscapes.py
_base_ = '../deeplabv3_r50_manpp_cityscapes.py'
loss_decode = dict(type='mmman.LeanCrossEntropyLoss')
model = dict(
    backbone=dict(
        # The outputs of stages 1 and 2, which no head sees, would stay alive until the heads run.
        backbone=dict(out_indices=(2, 3)),
        with_cp=[1, 4],
        partition=dict(_delete_=True, ends=['layer2.1', 'layer3.1', 'layer3.4']),
        local_head=dict(head=dict(channels=64, loss_decode=loss_decode)),
    ),
    decode_head=dict(in_index=1, loss_decode=loss_decode),
    auxiliary_head=dict(in_index=0, loss_decode=loss_decode),
)
