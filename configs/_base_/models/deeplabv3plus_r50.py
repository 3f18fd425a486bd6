# mmseg's DeepLabV3+-R50: the decoder of DeepLabV3 also sees the first stage's output.
_base_ = './deeplabv3_r50.py'
model = dict(decode_head=dict(type='DepthwiseSeparableASPPHead', c1_in_channels=256, c1_channels=48))
