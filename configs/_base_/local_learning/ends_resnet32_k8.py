# The ends of ResNet-32's blocks that the released code calls K=8: with the last one, 9 blocks, the stem one of them.
ends = ['stem', 'layer1.0', 'layer1.2', 'layer1.4', 'layer2.1', 'layer2.3', 'layer3.0', 'layer3.2']
