"""What stands in for operations that mmcv has for GPUs only computes what they do."""

import pytest
import torch
from mmcv.ops import (
    CARAFEPack,
    DeformRoIPool,
    DeformRoIPoolPack,
    MaskedConv2d,
    ModulatedDeformRoIPoolPack,
    RoIAlign,
)

from mmman.zoo.cpu_stand_ins import SAMPLES, masked_conv, pool_bins, stand_in


def test_a_masked_convolution_is_zero_where_the_mask_is():
    conv, x = MaskedConv2d(2, 3, 3, padding=1), torch.rand(1, 2, 5, 5)
    mask = torch.rand(1, 5, 5) > 0.5
    found = masked_conv(conv, x, mask)
    assert torch.equal(found[:, :, mask[0]], conv(x)[:, :, mask[0]])
    assert not found[:, :, ~mask[0]].any()


@pytest.mark.parametrize('groups', [1, 2])
def test_carafe_weighs_a_window_around_each_pixel(groups):
    pack = CARAFEPack(4, 2, up_kernel=3, up_group=groups)
    stand_in(pack)
    x, mask = torch.rand(1, 4, 3, 5), torch.rand(1, 9 * groups, 6, 10)
    found = pack.feature_reassemble(x, mask)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for channel, row, column in [(0, 0, 0), (1, 2, 9), (2, 5, 4), (3, 3, 3)]:
        window = padded[0, channel, row // 2 : row // 2 + 3, column // 2 : column // 2 + 3].flatten()
        group = channel // (4 // groups)
        weights = mask[0, 9 * group : 9 * group + 9, row, column]
        torch.testing.assert_close(found[0, channel, row, column], window @ weights)


def test_pooling_without_moves_is_roi_align():
    x, rois = torch.rand(2, 3, 9, 12), torch.tensor([[0, 2.0, 3.0, 30.0, 25.0], [1, 8.0, 4.0, 20.0, 30.0]])
    pool = DeformRoIPool((3, 2), spatial_scale=0.25, sampling_ratio=SAMPLES)
    align = RoIAlign((3, 2), spatial_scale=0.25, sampling_ratio=SAMPLES, aligned=True)
    torch.testing.assert_close(pool_bins(pool, x, rois), align(x, rois))
    # A bin that moves by a whole bin to the right, 0.5 of the width, sees what its neighbour saw.
    right = torch.zeros(2, 2, 3, 2)
    right[:, 0, :, 0] = 0.5 / pool.gamma
    torch.testing.assert_close(pool_bins(pool, x, rois, right)[..., 0], align(x, rois)[..., 1])


@pytest.mark.parametrize('kind', [DeformRoIPoolPack, ModulatedDeformRoIPoolPack])
def test_moves_and_weights_of_bins_are_learned(kind):
    torch.manual_seed(0)
    pack = kind((2, 2), 3, deform_fc_channels=16)
    stand_in(pack)
    weights = [layer.weight for layer in pack.modules() if hasattr(layer, 'weight')]
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.1)
    pack(torch.rand(1, 3, 6, 6), torch.tensor([[0, 1.0, 1.0, 4.0, 4.0]])).sum().backward()
    assert all(weight.grad.any() for weight in weights)
