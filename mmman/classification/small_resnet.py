"""ResNets for small images (ResNet-20, 32, 56, 110)."""

from typing import Any

from mmpretrain.models.backbones.resnet import BasicBlock
from mmpretrain.models.backbones.resnet_cifar import ResNet_CIFAR

from mmman.registry import MODELS


@MODELS.register_module()
class SmallResNet(ResNet_CIFAR):
    """The three-stage ResNet of He et al. (2016), section 4.2, with 16, 32 and 64 channels.

    mmpretrain's ``ResNet_CIFAR`` has the depths of ImageNet's ResNets only. The shortcuts that change their shape are
    projections (1x1 convolution and norm).

    Args:
        depth (int): Number of layers, of 20, 32, 56, 110: 6 n + 2 for three stages of n units.
        **kwargs: See ``mmpretrain.models.ResNet_CIFAR``.
    """

    arch_settings = {depth: (BasicBlock, 3 * ((depth - 2) // 6,)) for depth in (20, 32, 56, 110)}

    def __init__(
        self,
        depth: int,
        stem_channels: int = 16,
        base_channels: int = 16,
        num_stages: int = 3,
        strides: tuple[int, ...] = (1, 2, 2),
        dilations: tuple[int, ...] = (1, 1, 1),
        out_indices: tuple[int, ...] = (2,),
        zero_init_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=num_stages,
            strides=strides,
            dilations=dilations,
            out_indices=out_indices,
            zero_init_residual=zero_init_residual,
            **kwargs,
        )
