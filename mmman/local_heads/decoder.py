"""The decoder of InfoPro: from a feature map back to the image."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from .batch_norm import take_one_value

UPSAMPLING = ('first', 'stepwise')
BATCH_NORM = dict(type='BN')
RGB = 3


class ImageDecoder(BaseModule):
    """3x3 convolutions on ever finer maps, the last one with the image's channels.

    Args:
        in_channels (int): Channels of the feature map.
        channels (Sequence[int]): Channels of the convolutions before the last one; norm and ReLU follow each.
        project (int, optional): Channels of a 1x1 convolution that comes first, with norm and ReLU. Defaults to None.
        upsampling (str): ``'first'``, to the image's size before all 3x3 convolutions (small images);
            ``'stepwise'``, by a factor of 2 before each, so that the last one works at the image's size.
        norm_cfg (dict): Config of the norm layers. Defaults to ``dict(type='BN')``.
        out_channels (int): Channels of the image; ``InfoProLocalHead`` fills them in. Defaults to 3.

    Raises:
        ValueError: If ``upsampling`` is neither.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        project: int | None = None,
        upsampling: str = 'stepwise',
        norm_cfg: dict = BATCH_NORM,
        out_channels: int = RGB,
    ) -> None:
        super().__init__()
        if upsampling not in UPSAMPLING:
            raise ValueError(f'ImageDecoder.upsampling must be one of {UPSAMPLING}, got {upsampling!r}')
        self.upsampling = upsampling
        self.project = ConvModule(in_channels, project, 1, norm_cfg=norm_cfg) if project else nn.Identity()
        widths = [project or in_channels, *channels]
        self.convs = nn.ModuleList(
            ConvModule(a, b, 3, padding=1, norm_cfg=norm_cfg) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.convs.append(nn.Conv2d(widths[-1], out_channels, 3, padding=1))
        take_one_value(self)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Decode.

        Args:
            x (Tensor): Feature map, (N, C, H, W).
            size (Sequence[int]): Height and width of the image.

        Returns:
            Tensor: Logits of the image's channels, (N, out_channels, height, width).
        """
        x = self.project(x)
        for steps_left, conv in zip(reversed(range(len(self.convs))), self.convs, strict=True):
            shrink = 2**steps_left if self.upsampling == 'stepwise' else 1
            target = [max(1, side // shrink) for side in size]
            x = conv(F.interpolate(x, size=target, mode='bilinear', align_corners=True))
        return x
