"""ResNets of mmdet, mmseg and mmpretrain, and all that share their forward pass (V1c, V1d, ResNeXt, RegNet, ...)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..segments import Segment
from .base import BackboneFamily


class ResNetFamily(BackboneFamily):
    """Segments: ``'stem'``, then every residual unit as ``'layer<stage>.<unit>'``."""

    # Forward passes read and found to be: stem, max-pooling, then `res_layers` one after the other, nothing else. A
    # subclass that brings a forward of its own (DetectoRS, TridentNet, ...) is refused rather than guessed at.
    FORWARDS = frozenset(
        f'{toolbox}.models.backbones.resnet.ResNet.forward' for toolbox in ('mmdet', 'mmseg', 'mmpretrain')
    )

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        forward = type(backbone).forward
        return f'{forward.__module__}.{forward.__qualname__}' in cls.FORWARDS

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'ResNet, ResNetV1c, ResNetV1d, ResNeXt, Res2Net, ResNeSt, SEResNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        stem = ('stem',) if backbone.deep_stem else ('conv1', backbone.norm1_name)
        segments = [Segment('stem', backbone.res_layers[0], stem)]
        for i, stage in enumerate(backbone.res_layers):
            units = len(getattr(backbone, stage))
            for j in range(units):
                name = f'{stage}.{j}'
                closes = i if j == units - 1 and i in backbone.out_indices else None
                segments.append(Segment(name, stage, (name,), closes))
        return segments

    def run(self, backbone: nn.Module, segment: Segment, x: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        if segment.name != 'stem':
            return backbone.get_submodule(segment.name)(x)
        return self._run_stem(backbone, x)

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        if segment.name == 'stem':
            raise ValueError('the stem is the first segment of the first block: no auxiliary network copies it')
        return backbone.get_submodule(segment.name)

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        return tuple(features[i] for i in sorted(features))

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`."""
        conv = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
        return torch.zeros(1, conv.in_channels, 128, 128, device=conv.weight.device, dtype=conv.weight.dtype)

    def _run_stem(self, backbone: nn.Module, x: Tensor) -> Tensor:
        x = backbone.stem(x) if backbone.deep_stem else backbone.relu(backbone.norm1(backbone.conv1(x)))
        return backbone.maxpool(x)


class PoolFreeResNetFamily(ResNetFamily):
    """ResNets whose stem does not pool: RegNet, and the ResNets for 32 x 32 images."""

    FORWARDS = frozenset(
        {
            'mmdet.models.backbones.regnet.RegNet.forward',
            'mmpretrain.models.backbones.regnet.RegNet.forward',
            'mmpretrain.models.backbones.resnet_cifar.ResNet_CIFAR.forward',
        }
    )

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'RegNet, ResNet_CIFAR'

    def _run_stem(self, backbone: nn.Module, x: Tensor) -> Tensor:
        return backbone.relu(backbone.norm1(backbone.conv1(x)))
