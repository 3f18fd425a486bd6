"""Operations that mmcv has for GPUs only, in torch."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLES = 2  # on each side of a bin


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
        elif name in ('DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'):
            module.forward = partial(pool_where_it_looks, module)


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


def pool_where_it_looks(pack: nn.Module, x: Tensor, rois: Tensor) -> Tensor:
    """Pool regions whose bins are moved, and weighted, by what a first pooling has seen.

    Args:
        pack (nn.Module): The (Modulated)DeformRoIPoolPack, for the sizes and layers.
        x (Tensor): (N, C, H, W).
        rois (Tensor): Image, left, top, right, bottom, (R, 5).
    """
    seen = pool_bins(pack, x, rois).flatten(1)
    pooled = pool_bins(pack, x, rois, pack.offset_fc(seen).view(-1, 2, *pack.output_size))
    return pooled * pack.mask_fc(seen).view(-1, 1, *pack.output_size) if hasattr(pack, 'mask_fc') else pooled


def pool_bins(pool: nn.Module, x: Tensor, rois: Tensor, offset: Tensor | None = None) -> Tensor:
    """The average over each bin of each region, whose bins are moved.

    Args:
        pool (nn.Module): The DeformRoIPool, for the sizes.
        x (Tensor): (N, C, H, W).
        rois (Tensor): Image, left, top, right, bottom, (R, 5).
        offset (Tensor, optional): By what the bins move, in ``gamma`` of the region's width and height, (R, 2, *bins).

    Returns:
        Tensor: (R, C, *bins).
    """
    bins = pool.output_size
    first, last = (rois[:, 1:] * pool.spatial_scale - 0.5).split(2, dim=1)
    size = last - first
    down, right = ((torch.arange(n * SAMPLES, device=x.device) + 0.5) / (n * SAMPLES) for n in bins)
    places = torch.stack(torch.meshgrid(right, down, indexing='xy')) * size[:, :, None, None] + first[:, :, None, None]
    if offset is not None:
        moved = pool.gamma * size[:, :, None, None] * offset
        places = places + F.interpolate(moved, scale_factor=SAMPLES, mode='nearest')
    grid = places.permute(0, 2, 3, 1) * 2 / (x.new_tensor(x.shape[:1:-1]) - 1) - 1
    pooled = x.new_zeros(len(rois), x.shape[1], *bins)
    for image in rois[:, 0].unique():
        these = torch.nonzero(rois[:, 0] == image).flatten()
        sampled = F.grid_sample(
            x[int(image)][None], grid[these].flatten(0, 1)[None], padding_mode='border', align_corners=True
        )
        sampled = sampled[0].view(x.shape[1], len(these), bins[0], SAMPLES, bins[1], SAMPLES).mean((3, 5))
        pooled = pooled.index_put((these,), sampled.transpose(0, 1))
    return pooled
