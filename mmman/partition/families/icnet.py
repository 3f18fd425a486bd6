"""ICNet of mmseg, whose stages see images of half and of a quarter of the size."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..segments import Segment
from .base import STEM, BackboneFamily


class Half(nn.Module):
    """Halves a map's sides.

    Args:
        align_corners (bool): How.
    """

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H / 2, W / 2)."""
        from mmseg.models.utils import resize

        return resize(x, scale_factor=0.5, mode='bilinear', align_corners=self.align_corners)


class ICNetFamily(BackboneFamily):
    """Segments: ``'stem'``, then every unit of the ResNet in it, as ``'backbone.layer<i>.<j>'``.

    The convolutions that make the three outputs follow the last segment, as does the branch that sees the whole image.
    """

    CLASSES = frozenset({'mmseg.models.backbones.icnet.ICNet'})

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'ICNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        segments = [Segment(STEM, 'backbone.layer1', ('backbone.stem',))]
        for i in (1, 2, 3, 4):
            stage = f'backbone.layer{i}'
            units = len(backbone.get_submodule(stage))
            for j in range(units):
                closes = {2: 1, 4: 2}.get(i) if j == units - 1 else None
                segments.append(Segment(f'{stage}.{j}', stage, (f'{stage}.{j}',), closes))
        return segments

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        half = Half(backbone.align_corners)(images)
        return backbone.backbone.maxpool(backbone.backbone.stem(half))

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        unit = super().module(backbone, segment)
        return nn.Sequential(Half(backbone.align_corners), unit) if segment.name == 'backbone.layer3.0' else unit

    def sources_of_outputs(self, backbone: nn.Module) -> list[frozenset[int]]:
        """See :class:`BackboneFamily`. The first output follows from the images alone."""
        return [frozenset(), frozenset([1]), frozenset([2])]

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor) -> list[Tensor]:
        """See :class:`BackboneFamily`."""
        pooled = torch.cat([*backbone.psp_modules(features[2]), features[2]], dim=1)
        return [
            backbone.conv_sub1(images),
            backbone.conv_sub2(features[1]),
            backbone.conv_sub4(backbone.psp_bottleneck(pooled)),
        ]
