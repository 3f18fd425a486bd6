"""UNet of mmseg: every skip connection passes from segment to segment until the decoder takes it."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..segments import Segment
from .base import BackboneFamily

Maps = tuple[Tensor, ...]  # the skip connections that are still to be used, the finest first, and the map


class Encode(nn.Module):
    """A stage of the encoder, whose input stays as a skip connection.

    Args:
        stage (nn.Module): The stage.
    """

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor | Maps) -> Maps:
        """Add the stage's output to the maps; the images, which the first stage is given, are no skip connection."""
        maps = x if isinstance(x, tuple) else ()
        return (*maps, self.stage(maps[-1] if maps else x))


class Decode(nn.Module):
    """A stage of the decoder.

    Args:
        stage (nn.Module): The stage.
    """

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Maps) -> Maps:
        """Put the stage's output in the place of the map and of the last skip connection."""
        *others, skip, map_ = x
        return (*others, self.stage(skip, map_))


class UNetFamily(BackboneFamily):
    """Segments: every stage, as ``'encoder.<i>'`` and ``'decoder.<i>'``, which run from the last to the first."""

    CLASSES = frozenset({'mmseg.models.backbones.unet.UNet'})

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'UNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        names = [f'encoder.{i}' for i in range(len(backbone.encoder))]
        last = len(names) - 1
        names += [f'decoder.{i}' for i in reversed(range(len(backbone.decoder)))]
        return [Segment(name, name, (name,), i - last if i >= last else None) for i, name in enumerate(names)]

    def run(self, backbone: nn.Module, segment: Segment, x: Tensor | Maps) -> Maps:
        """See :class:`BackboneFamily`."""
        if isinstance(x, Tensor):
            backbone._check_input_divisible(x)
        return self.module(backbone, segment)(x)

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        stage = backbone.get_submodule(segment.name)
        return Encode(stage) if segment.name.startswith('encoder') else Decode(stage)

    def feature(self, x: Maps) -> Tensor:
        """See :class:`BackboneFamily`."""
        return x[-1]

    def outputs(self, backbone: nn.Module, features: Mapping[int, Maps], x: Maps, images: Tensor) -> list[Tensor]:
        """See :class:`BackboneFamily`."""
        return [features[i][-1] for i in sorted(features)]
