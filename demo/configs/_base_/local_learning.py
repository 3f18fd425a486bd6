# The local heads of the released recipe, with the classes and the 128 channels of the demo's model.
_base_ = '../../../configs/_base_/local_learning/retina.py'
local_learning = dict(local_head=dict(channels=128, head=dict(num_classes=3, feat_channels=128)))
