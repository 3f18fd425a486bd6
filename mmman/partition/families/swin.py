"""Transformers with windows, in stages: Swin of the three toolboxes, SwinV2 and DaViT of mmpretrain."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from ..states import TokenGrid
from .steps import StepsFamily, Unit


class SwinFamily(StepsFamily):
    """Segments: ``'stem'`` (patch embedding, positions), then every layer as ``'stages.<i>.blocks.<j>'``.

    Tokens and their grid pass from segment to segment. What merges patches between stages belongs to the first layer of
    the next one. The norms of the outputs follow the last segment.
    """

    CLASSES = frozenset(f'{toolbox}.models.backbones.swin.SwinTransformer' for toolbox in ('mmdet', 'mmseg')) | {
        'mmpretrain.models.backbones.swin_transformer.SwinTransformer',
        'mmpretrain.models.backbones.davit.DaViT',
    }
    STEM_OWNS = ('patch_embed', 'absolute_pos_embed', 'drop_after_pos')

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'SwinTransformer, DaViT'

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. Of the size that mmpretrain's are made for: no window shrinks with the map."""
        made_for = getattr(backbone.patch_embed, 'init_input_size', None) or (224, 224)
        return self._blank_image(backbone, *(made_for if 'mmpretrain' in _module_of(backbone) else (128, 128)))

    def run_stem(self, backbone: nn.Module, images: Tensor) -> TokenGrid:
        """See :class:`BackboneFamily`."""
        x, size = backbone.patch_embed(images)
        if getattr(backbone, 'use_abs_pos_embed', False):
            x = x + self._positions(backbone, size)
        drop = getattr(backbone, 'drop_after_pos', None)  # DaViT has none
        return TokenGrid(drop(x) if drop is not None else x, tuple(size))

    @staticmethod
    def _positions(backbone: nn.Module, size: tuple[int, int]) -> Tensor:
        if not hasattr(backbone, 'patch_resolution'):
            return backbone.absolute_pos_embed
        from mmpretrain.models.utils import resize_pos_embed

        return resize_pos_embed(
            backbone.absolute_pos_embed,
            backbone.patch_resolution,
            size,
            backbone.interpolate_mode,
            backbone.num_extra_tokens,
        )

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        merge_first = getattr(backbone, 'out_after_downsample', False)  # the output is what comes behind it
        for i, stage in enumerate(backbone.stages):
            name = f'stages.{i}'
            for j in range(len(stage.blocks)):
                steps = [('tokens and size', f'{name}.blocks.{j}')]
                if j == 0 and i > 0 and not merge_first and backbone.stages[i - 1].downsample is not None:
                    steps.insert(0, ('grid', f'stages.{i - 1}.downsample'))
                is_last = j == len(stage.blocks) - 1
                if is_last and merge_first and stage.downsample is not None:
                    steps.append(('grid', f'{name}.downsample'))
                closes = i if is_last and i in backbone.out_indices else None
                yield Unit(f'{name}.blocks.{j}', name, tuple(steps), closes)

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, TokenGrid], x: TokenGrid, images: Tensor
    ) -> list[Tensor] | tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        outs = []
        for i, feature in sorted(features.items()):
            out = getattr(backbone, f'norm{i}')(feature.tokens)
            outs.append(out.unflatten(1, feature.size).permute(0, 3, 1, 2).contiguous())
        # mmdet's and mmseg's return a list.
        return tuple(outs) if 'mmpretrain' in _module_of(backbone) else outs


class SwinV2Family(SwinFamily):
    """As Swin; what merges patches lies in the stage behind it."""

    CLASSES = frozenset({'mmpretrain.models.backbones.swin_transformer_v2.SwinTransformerV2'})

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'SwinTransformerV2'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        for i, stage in enumerate(backbone.stages):
            name = f'stages.{i}'
            for j in range(len(stage.blocks)):
                steps = [('tokens and size', f'{name}.blocks.{j}')]
                if j == 0 and stage.downsample:
                    steps.insert(0, ('grid', f'{name}.downsample'))
                closes = i if j == len(stage.blocks) - 1 and i in backbone.out_indices else None
                yield Unit(f'{name}.blocks.{j}', name, tuple(steps), closes)


def _module_of(backbone: nn.Module) -> str:
    """The modules of all classes of a backbone, which say which toolbox it is from."""
    return ' '.join(kind.__module__ for kind in type(backbone).__mro__)
