"""Operations that mmcv has for GPUs only, in torch."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stand_in(model: nn.Module) -> None:
    """Let a model on a CPU compute by torch what mmcv computes on GPUs only.

    Args:
        model (nn.Module): A model that a toolbox has built.
    """
    for module in model.modules():
        name = type(module).__name__
        if name == 'MaskedConv2d':
            module.forward = partial(masked_conv, module)
        elif name == 'CARAFEPack':
            module.feature_reassemble = partial(reassemble, module)


def masked_conv(conv: nn.Conv2d, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """A convolution whose output is zero where a mask is.

    Args:
        conv (nn.Conv2d): The convolution.
        x (Tensor): (1, C, H, W).
        mask (Tensor, optional): (1, H, W).
    """
    y = nn.Conv2d.forward(conv, x)
    return y if mask is None else y * mask.to(y)


def reassemble(pack: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """CARAFE: each pixel of the larger map is a weighted sum of a window of the small one.

    Args:
        pack (nn.Module): The CARAFEPack, for the sizes.
        x (Tensor): (N, C, H, W).
        mask (Tensor): The weights, (N, groups * window, scale * H, scale * W).
    """
    side, groups, scale = pack.up_kernel, pack.up_group, pack.scale_factor
    n, channels, height, width = x.shape
    windows = F.unfold(x, side, padding=side // 2).view(n, channels * side**2, height, width)
    windows = F.interpolate(windows, scale_factor=scale, mode='nearest')
    windows = windows.view(n, groups, channels // groups, side**2, *mask.shape[2:])
    weights = mask.view(n, groups, 1, side**2, *mask.shape[2:])
    return torch.sum(windows * weights, dim=3).flatten(1, 2)
