# Ends of ResNet-110's blocks for K=32: with the last one, 33 blocks, the stem one of them. The released code has 11, 11
# and 10 of them in the three stages. Which ones is ours: at equal distances, up to the stage's last unit; the number of
# parameters in LB and in the local heads agrees (tests/test_parameter_counts.py).
ends = [
    'stem',
    *(f'layer{i}.{j}' for i in (1, 2) for j in (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17)),
    *(f'layer3.{j}' for j in (1, 3, 4, 6, 8, 10, 12, 13, 15)),
]
