"""Transformers that make a map at the end of every stage: PVT, MiT (SegFormer), Twins, MSCAN (SegNeXt), VAN."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from .steps import StepsFamily, ToMap, Unit, features_in_order


class _PyramidFamily(StepsFamily):
    """Segments: every layer. A stage begins by embedding patches of the map before it and ends with a norm, a map."""

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor) -> Any:
        """See :class:`BackboneFamily`."""
        return features_in_order(features)


class PVTFamily(_PyramidFamily):
    """Segments: every layer as ``'layers.<i>.1.<j>'``. Position embeddings belong to the layer behind them."""

    CLASSES = frozenset(
        {
            'mmdet.models.backbones.pvt.PyramidVisionTransformer',
            'mmseg.models.backbones.mit.MixVisionTransformer',
        }
    )

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'PyramidVisionTransformer, PyramidVisionTransformerV2, MixVisionTransformer'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        to_map = ToMap(contiguous=not any('mmseg' in kind.__module__ for kind in type(backbone).__mro__))
        for i, (_, layers, _) in enumerate(backbone.layers):
            stage = f'layers.{i}'
            steps = [('embed', f'{stage}.0')]
            for j, layer in enumerate(layers):
                steps.append(('tokens and size', f'{stage}.1.{j}'))
                if type(layer).__name__ == 'AbsolutePositionEmbedding':
                    continue
                is_last = j == len(layers) - 1
                if is_last:
                    steps.append(('tokens', f'{stage}.2'))
                closes = i if is_last and i in backbone.out_indices else None
                yield Unit(f'{stage}.1.{j}', stage, tuple(steps), closes, to_map if is_last else None)
                steps = []


class TwinsFamily(_PyramidFamily):
    """Segments: every layer, as ``'layers.<i>.<j>'`` (mmseg) or ``'stages.<i>.<j>'`` (mmpretrain).

    The position encoding behind the first layer of a stage belongs to that layer.
    """

    CLASSES = frozenset(f'{toolbox}.models.backbones.twins.PCPVT' for toolbox in ('mmseg', 'mmpretrain'))

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'PCPVT and SVT (Twins)'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        mmseg = hasattr(backbone, 'layers')
        for i, layers in enumerate(backbone.layers if mmseg else backbone.stages):
            stage = f'{"layers" if mmseg else "stages"}.{i}'
            for j in range(len(layers)):
                steps = [('tokens and size', f'{stage}.{j}')]
                if j == 0:
                    before = [('embed', f'patch_embeds.{i}'), ('tokens', f'position_encoding_drops.{i}')]
                    steps = [*before, *steps, ('tokens and size', f'position_encodings.{i}')]
                is_last = j == len(layers) - 1
                if is_last and (not mmseg or backbone.norm_after_stage):
                    steps.append(('tokens', f'norm_list.{i}' if mmseg else f'norm_after_stage{i}'))
                closes = i if is_last and i in backbone.out_indices else None
                yield Unit(f'{stage}.{j}', stage, tuple(steps), closes, ToMap(contiguous=True) if is_last else None)

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor) -> tuple:
        """See :class:`BackboneFamily`."""
        return tuple(features_in_order(features))


class MSCANFamily(_PyramidFamily):
    """Segments: every layer as ``'block<i>.<j>'``."""

    CLASSES = frozenset({'mmseg.models.backbones.mscan.MSCAN'})
    STAGE = 'block'
    # How patches are embedded, and how a layer and the norm behind a stage are called.
    WAYS = ('embed with height and width', 'tokens, height and width', 'tokens')
    TO_MAP: ToMap | None = ToMap(contiguous=True)

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'MSCAN'

    def units(self, backbone: nn.Module) -> Iterator[Unit]:
        """See :class:`StepsFamily`."""
        embed, call, norm = self.WAYS
        for i in range(1, backbone.num_stages + 1):
            stage = f'{self.STAGE}{i}'
            layers = len(getattr(backbone, stage))
            for j in range(layers):
                steps = [(call, f'{stage}.{j}')]
                if j == 0:
                    steps.insert(0, (embed, f'patch_embed{i}'))
                is_last = j == layers - 1
                if is_last:
                    steps.append((norm, f'norm{i}'))
                # MSCAN hands on all stages.
                closes = i - 1 if is_last and i - 1 in getattr(backbone, 'out_indices', range(i)) else None
                yield Unit(f'{stage}.{j}', stage, tuple(steps), closes, self.TO_MAP if is_last else None)


class VANFamily(MSCANFamily):
    """Segments: every layer as ``'blocks<i>.<j>'``; maps pass from one to the next."""

    CLASSES = frozenset({'mmpretrain.models.backbones.van.VAN'})
    STAGE = 'blocks'
    WAYS = ('first', 'whole', 'norm of map')
    TO_MAP = None

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'VAN'

    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor) -> tuple:
        """See :class:`BackboneFamily`."""
        return tuple(features_in_order(features))
