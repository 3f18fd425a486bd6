"""What stands in for operations that mmcv has for GPUs only computes what they do."""

import pytest
import torch
from mmcv.ops import CARAFEPack, MaskedConv2d

from mmman.zoo.cpu_stand_ins import masked_conv, stand_in


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
