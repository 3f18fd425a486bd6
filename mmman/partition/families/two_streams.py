"""Backbones of two streams that see each other in every layer: Conformer (map and tokens), TNT (pixels and patches)."""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..states import TokenGrid
from .steps import StepsFamily, Unit

MapAndTokens = tuple[Tensor, TokenGrid]
PixelsAndPatches = tuple[Tensor, Tensor]


class ConformerFamily(StepsFamily):
    """Segments: ``'stem'`` (both streams' first layers, too), then every layer as ``'conv_trans_<i>'``.

    A local head sees both streams in one map, on the grid of the tokens: the map, and the tokens with the class token
    added at every position.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.conformer.Conformer'})
    STEM_OWNS = ('conv1', 'bn1', 'cls_token', 'conv_1', 'trans_patch_conv', 'trans_1')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'Conformer'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        for i in range(2, backbone.fin_stage):
            name = f'conv_trans_{i}'
            yield Unit(name, name, (('map and tokens', name),), i if i in backbone.out_indices else None)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> MapAndTokens:
        """See :class:`BackboneFamily`."""
        x = backbone.maxpool(backbone.act1(backbone.bn1(backbone.conv1(images))))
        x = backbone.auto_pad(x)
        maps = backbone.conv_1(x, out_conv2=False)
        patches = backbone.trans_patch_conv(x)
        tokens = patches.flatten(2).transpose(1, 2)
        if backbone.with_cls_token:
            tokens = torch.cat([backbone.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return maps, TokenGrid(backbone.trans_1(tokens), tuple(patches.shape[2:]))

    def feature(self, x: MapAndTokens) -> Tensor:
        """See :class:`BackboneFamily`."""
        maps, grid = x
        patches, extra = grid.map, grid.tokens.shape[1] - grid.size[0] * grid.size[1]
        if extra:
            patches = patches + grid.tokens[:, 0, :, None, None]
        return torch.cat([F.adaptive_avg_pool2d(maps, grid.size), patches], dim=1)

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, MapAndTokens], x: MapAndTokens, images: Tensor
    ) -> tuple[list[Tensor], ...]:
        """See :class:`BackboneFamily`."""
        made = []
        for _, (maps, grid) in sorted(features.items()):
            tokens = backbone.trans_norm(grid.tokens)
            vector = tokens[:, 0] if backbone.with_cls_token else tokens.mean(dim=1)
            made.append([backbone.pooling(maps).flatten(1), vector])
        return tuple(made)


class TNTFamily(StepsFamily):
    """Segments: ``'stem'``, then every layer as ``'layers.<i>'``. A local head sees the patches.

    The norm of the output follows the last segment.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.tnt.TNT'})
    STEM_OWNS = ('pixel_embed', 'pixel_pos', 'norm1_proj', 'projection', 'norm2_proj', 'cls_token', 'patch_pos')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'TNT'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        last = len(backbone.layers) - 1
        for i in range(last + 1):
            name = f'layers.{i}'
            yield Unit(name, name, (('pixels and patches', name),), 0 if i == last else None)

    def extra_tokens(self, backbone: nn.Module) -> int:
        """See :class:`BackboneFamily`."""
        return 1

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. Of the size that the backbone was made for."""
        return self._blank_image(backbone, *backbone.pixel_embed.img_size)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> PixelsAndPatches:
        """See :class:`BackboneFamily`."""
        pixels = backbone.pixel_embed(images, backbone.pixel_pos)
        patches = backbone.norm1_proj(pixels.reshape(len(images), backbone.num_patches, -1))
        patches = backbone.norm2_proj(backbone.projection(patches))
        patches = torch.cat((backbone.cls_token.expand(len(images), -1, -1), patches), dim=1)
        return pixels, backbone.drop_after_pos(patches + backbone.patch_pos)

    def feature(self, x: PixelsAndPatches) -> Tensor:
        """See :class:`BackboneFamily`."""
        return x[1]

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, PixelsAndPatches], x: PixelsAndPatches, images: Tensor
    ) -> tuple[Tensor]:
        """See :class:`BackboneFamily`."""
        return (backbone.norm(x[1])[:, 0],)
