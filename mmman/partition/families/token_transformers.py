"""Transformers of one stage whose tokens keep their grid: mmseg's ViT, BEiT, MAE; mmpretrain's BEiT, EVA-02, XCiT."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..states import TokenGrid
from .steps import StepsFamily, Unit


class _TokensFamily(StepsFamily):
    """Segments: ``'stem'`` (patch embedding, class token, positions), then every layer as ``'layers.<i>'``.

    The final norm belongs to the last layer.
    """

    LAYER = 'tokens'  # how a layer is called
    FINAL_NORM = 'norm1'
    STEM_OWNS = ('patch_embed', 'cls_token', 'pos_embed', 'drop_after_pos')

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        for i in range(len(backbone.layers)):
            steps = [(self.LAYER, f'layers.{i}')]
            if i == len(backbone.layers) - 1 and backbone.final_norm:
                steps.append(('tokens', self.FINAL_NORM))
            yield Unit(f'layers.{i}', f'layers.{i}', tuple(steps), i if i in backbone.out_indices else None)

    @staticmethod
    def _with_class_token(backbone: nn.Module, x: Tensor) -> Tensor:
        return torch.cat((backbone.cls_token.expand(x.shape[0], -1, -1), x), dim=1)


class SegmentationViTFamily(_TokensFamily):
    """mmseg's ViT; see :class:`_TokensFamily`."""

    CLASSES = frozenset({'mmseg.models.backbones.vit.VisionTransformer'})
    STEM_OWNS = ('patch_embed', 'cls_token', 'pos_embed', 'drop_after_pos', 'pre_ln')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'VisionTransformer of mmseg (but not with out_origin)'

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        return super().supports(backbone) and not backbone.out_origin

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x, size = backbone.patch_embed(images)
        x = backbone._pos_embeding(self._with_class_token(backbone, x), size, backbone.pos_embed)
        x = x if backbone.with_cls_token else x[:, 1:]
        return TokenGrid(backbone.pre_ln(x) if backbone.pre_norm else x, tuple(size))

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, TokenGrid], x: TokenGrid, images: Tensor
    ) -> tuple[Any, ...]:
        """See :class:`BackboneFamily`."""
        maps = [(feature, feature.map.contiguous()) for _, feature in sorted(features.items())]
        if getattr(backbone, 'output_cls_token', False):
            return tuple([out, feature.tokens[:, 0]] for feature, out in maps)
        return tuple(out for _, out in maps)


class SegmentationBEiTFamily(SegmentationViTFamily):
    """mmseg's BEiT and MAE; see :class:`_TokensFamily`."""

    CLASSES = frozenset({'mmseg.models.backbones.beit.BEiT'})
    STEM_OWNS = ('patch_embed', 'cls_token', 'pos_embed')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'BEiT and MAE of mmseg'

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        return super(SegmentationViTFamily, cls).supports(backbone)

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. Of the size that the relative positions are made for."""
        return self._blank_image(backbone, *backbone.img_size)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x, size = backbone.patch_embed(images)
        x = self._with_class_token(backbone, x)
        positions = getattr(backbone, 'pos_embed', None)  # MAE's
        return TokenGrid(x if positions is None else x + positions, tuple(size))


class BEiTFamily(_TokensFamily):
    """mmpretrain's BEiT for classification; see :class:`_TokensFamily`."""

    CLASSES = frozenset({'mmpretrain.models.backbones.beit.BEiTViT'})
    LAYER = 'tokens and None'
    FINAL_NORM = 'ln1'

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'BEiTViT (but not with positions that all layers share)'

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        return super().supports(backbone) and getattr(backbone, 'rel_pos_bias', None) is None

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. Of the size that the backbone was made for."""
        return self._blank_image(backbone, *backbone.img_size)

    def extra_tokens(self, backbone: nn.Module) -> int:
        """See :class:`BackboneFamily`."""
        return backbone.num_extra_tokens if backbone.cls_token is not None else 0

    def feature(self, x: TokenGrid) -> Tensor:
        """See :class:`BackboneFamily`: all tokens, the class token first."""
        return x.tokens

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x, size = backbone.patch_embed(images)
        if backbone.cls_token is not None:
            x = self._with_class_token(backbone, x)
        if backbone.pos_embed is not None:
            x = x + self._positions(backbone, size)
        return TokenGrid(backbone.drop_after_pos(x), tuple(size))

    @staticmethod
    def _positions(backbone: nn.Module, size: tuple[int, int]) -> Tensor:
        from mmpretrain.models.utils import resize_pos_embed

        return resize_pos_embed(
            backbone.pos_embed,
            backbone.patch_resolution,
            size,
            mode=backbone.interpolate_mode,
            num_extra_tokens=backbone.num_extra_tokens,
        )

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, TokenGrid], x: TokenGrid, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        return tuple(backbone._format_output(*feature) for _, feature in sorted(features.items()))


class EVA02Family(BEiTFamily):
    """mmpretrain's EVA-02; see :class:`_TokensFamily`."""

    CLASSES = frozenset({'mmpretrain.models.backbones.vit_eva02.ViTEVA02'})
    LAYER = 'tokens and size'
    STEM_OWNS = (*BEiTFamily.STEM_OWNS, 'pre_norm')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'ViTEVA02'

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x = super().run_stem(backbone, images)
        return TokenGrid(backbone.pre_norm(x.tokens), x.size)


class PrependToken(nn.Module):
    """Puts a learnable token before the others.

    Args:
        token (nn.Parameter): The token, (1, 1, C).
    """

    def __init__(self, token: nn.Parameter) -> None:
        super().__init__()
        self.token = token

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, L, C) to (N, 1 + L, C)."""
        return torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)


class XCiTFamily(BEiTFamily):
    """Segments: ``'stem'``, every layer as ``'xca_layers.<i>'``, then ``'ca_layers.<i>'``.

    The class token is put in front by the first of the latter.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.xcit.XCiT'})
    STEM_OWNS = ('patch_embed', 'pos_embed', 'pos_drop')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'XCiT'

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        return super(BEiTFamily, cls).supports(backbone)

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`."""
        return self._blank_image(backbone, 128, 128)

    def extra_tokens(self, backbone: nn.Module) -> int:
        """See :class:`BackboneFamily`. None: the local heads stand where there is no class token yet."""
        return 0

    def feature(self, x: TokenGrid) -> Tensor:
        """See :class:`BackboneFamily`. From ``ca_layers`` on the class token is added at every position."""
        has_class_token = x.tokens.shape[1] > x.size[0] * x.size[1]
        return x.map + x.tokens[:, :1].transpose(1, 2).unsqueeze(3) if has_class_token else x.map

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x, size = backbone.patch_embed(images)
        if backbone.use_pos_embed:
            x = x + backbone.pos_embed(x.shape[0], *size).reshape(x.shape[0], -1, x.size(1)).permute(0, 2, 1)
        return TokenGrid(backbone.pos_drop(x), tuple(size))

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        layers = [('tokens, height and width', f'xca_layers.{i}') for i in range(len(backbone.xca_layers))]
        layers += [('tokens', f'ca_layers.{i}') for i in range(len(backbone.ca_layers))]
        for i, (way, name) in enumerate(layers):
            steps = [(way, name)]
            if i == len(backbone.xca_layers):
                steps.insert(0, ('tokens', 'cls_token'))
            if i == len(layers) - 1:
                steps.append(('tokens', 'norm'))
            yield Unit(name, name, tuple(steps), i if i in backbone.out_indices else None)

    def step(self, backbone: nn.Module, name: str) -> nn.Module:
        """See :class:`StepsFamily`."""
        return PrependToken(backbone.cls_token) if name == 'cls_token' else super().step(backbone, name)

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, TokenGrid], x: TokenGrid, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        without = len(backbone.xca_layers)
        return tuple(backbone._format_output(*feature, i >= without) for i, feature in sorted(features.items()))
