"""MViT of mmpretrain, whose layers halve the grid themselves."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from ..states import TokenGrid
from .steps import StepsFamily, Unit


class MViTFamily(StepsFamily):
    """Segments: ``'stem'`` (patch embedding, positions), then every layer as ``'blocks.<i>'``.

    The norm of an output stays in what passes on.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.mvit.MViT'})
    STEM_OWNS = ('patch_embed', 'pos_embed')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'MViT'

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        from mmpretrain.models.utils import resize_pos_embed

        x, size = backbone.patch_embed(images)
        if backbone.use_abs_pos_embed:
            x = x + resize_pos_embed(
                backbone.pos_embed,
                backbone.patch_resolution,
                size,
                mode=backbone.interpolate_mode,
                num_extra_tokens=backbone.num_extra_tokens,
            )
        return TokenGrid(x, tuple(size))

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        ends, stage = backbone.stage_indices, 0
        for i in range(len(backbone.blocks)):
            steps, closes = [('grid', f'blocks.{i}')], None
            if ends.get(i) in backbone.out_scales:
                closes = ends[i]
                steps.append(('tokens', f'norm{closes}'))
            yield Unit(f'blocks.{i}', f'stage{stage + 1}', tuple(steps), closes)
            stage += i in ends

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, TokenGrid], x: TokenGrid, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        return tuple(feature.map.contiguous() for _, feature in sorted(features.items()))
