"""HRNet of the three toolboxes: several maps of different resolutions pass from segment to segment."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..segments import Segment
from .base import STEM, BackboneFamily

Maps = tuple[Tensor, ...]


class Branches(nn.Module):
    """A transition to one map more, where a stage begins, and one module of the stage.

    Args:
        transition (nn.Module, optional): The transition: for each branch what makes its map, or None.
        module (nn.Module): The HRModule.
        own_maps (bool): Whether mmpretrain's rule holds, by which a branch's transition is given the branch's map where
            there is one, and else the last. mmdet's and mmseg's are all given the last.
    """

    def __init__(self, transition: nn.Module | None, module: nn.Module, own_maps: bool) -> None:
        super().__init__()
        self.transition, self.unit, self.own_maps = transition, module, own_maps

    def forward(self, x: Tensor | Maps) -> Maps:
        """Map the maps of the branches to those behind the module, the finest first."""
        maps = x if isinstance(x, tuple) else (x,)
        if self.transition is not None:
            maps = tuple(self._made(maps, i, layer) for i, layer in enumerate(self.transition))
        return tuple(self.unit(list(maps)))  # a list of its own: the module writes into it

    def _made(self, maps: Maps, i: int, layer: nn.Module | None) -> Tensor:
        own = maps[min(i, len(maps) - 1)]
        if layer is None:
            return own
        return layer(own if self.own_maps else maps[-1])


class HRNetFamily(BackboneFamily):
    """Segments: ``'stem'``, every unit of ``layer1``, then every module as ``'stage<i>.<j>'``.

    Behind ``layer1`` what passes are the maps of all branches. A local head sees all of them, each brought to the size
    of the finest, in one map. The transition to one branch more belongs to the first module of its stage.
    """

    CLASSES = frozenset(f'{toolbox}.models.backbones.hrnet.HRNet' for toolbox in ('mmdet', 'mmseg', 'mmpretrain'))

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'HRNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        stem = ('conv1', backbone.norm1_name, 'conv2', backbone.norm2_name)
        segments = [Segment(STEM, 'layer1', stem)]
        segments += [Segment(f'layer1.{i}', 'layer1', (f'layer1.{i}',)) for i in range(len(backbone.layer1))]
        for i in (2, 3, 4):
            stage = f'stage{i}'
            units = len(getattr(backbone, stage))
            for j in range(units):
                name = f'{stage}.{j}'
                owns = (f'transition{i - 1}', name) if j == 0 else (name,)
                segments.append(Segment(name, stage, owns, 0 if i == 4 and j == units - 1 else None))
        return segments

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        x = backbone.relu(backbone.norm1(backbone.conv1(images)))
        return backbone.relu(backbone.norm2(backbone.conv2(x)))

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        found = super().module(backbone, segment)
        if segment.name.startswith('layer1'):
            return found
        transition = backbone.get_submodule(segment.owns[0]) if len(segment.owns) > 1 else None
        own_maps = any('mmpretrain' in kind.__module__ for kind in type(backbone).__mro__)
        return Branches(transition, found, own_maps)

    def feature(self, x: Tensor | Maps) -> Tensor:
        """See :class:`BackboneFamily`."""
        if isinstance(x, Tensor):
            return x
        size = x[0].shape[-2:]
        return torch.cat([x[0], *(F.interpolate(m, size, mode='bilinear', align_corners=False) for m in x[1:])], dim=1)

    def sources_of_outputs(self, backbone: nn.Module) -> list[frozenset[int]]:
        """See :class:`BackboneFamily`."""
        return [frozenset([0])] * len(backbone.stage4[-1].fuse_layers)

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, Maps], x: Maps, images: Tensor
    ) -> list[Tensor] | tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        # mmdet's and mmseg's return a list.
        return x if any('mmpretrain' in kind.__module__ for kind in type(backbone).__mro__) else list(x)
