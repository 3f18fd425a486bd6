"""ResNets of mmdet, mmseg and mmpretrain, and all that share their forward pass (V1c, V1d, ResNeXt, RegNet, ...)."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..segments import Segment
from .base import STEM, BackboneFamily


class ResNetFamily(BackboneFamily):
    """Segments: ``'stem'``, then every residual unit as ``'layer<stage>.<unit>'``."""

    CLASSES = frozenset(f'{toolbox}.models.backbones.resnet.ResNet' for toolbox in ('mmdet', 'mmseg', 'mmpretrain'))

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'ResNet, ResNetV1c, ResNetV1d, ResNeXt, Res2Net, ResNeSt, SEResNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        stem = ('stem',) if backbone.deep_stem else ('conv1', backbone.norm1_name)
        segments = [Segment(STEM, backbone.res_layers[0], stem)]
        for i, stage in enumerate(backbone.res_layers):
            units = len(getattr(backbone, stage))
            for j in range(units):
                name = f'{stage}.{j}'
                closes = i if j == units - 1 and i in backbone.out_indices else None
                segments.append(Segment(name, stage, (name,), closes))
        return segments

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        return tuple(features[i] for i in sorted(features))

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        x = backbone.stem(images) if backbone.deep_stem else backbone.relu(backbone.norm1(backbone.conv1(images)))
        return backbone.maxpool(x)


class PoolFreeResNetFamily(ResNetFamily):
    """ResNets whose stem does not pool: RegNet, and the ResNets for 32 x 32 images."""

    CLASSES = frozenset(
        {
            'mmdet.models.backbones.regnet.RegNet',
            'mmpretrain.models.backbones.regnet.RegNet',
            'mmpretrain.models.backbones.resnet_cifar.ResNet_CIFAR',
        }
    )

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'RegNet, ResNet_CIFAR, SmallResNet'

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        return backbone.relu(backbone.norm1(backbone.conv1(images)))
