"""HourglassNet of mmdet, whose stacks pass on what they were given beside what they made."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..segments import Segment
from .base import STEM, BackboneFamily

# A stack's input and output.
Passed = tuple[Tensor, Tensor]


class Stack(nn.Module):
    """An hourglass with the convolution of its output and, but for the first, what makes its input of the last one's.

    Args:
        backbone (nn.Module): The backbone.
        index (int): Which of its stacks.
    """

    def __init__(self, backbone: nn.Module, index: int) -> None:
        super().__init__()
        self.hourglass, self.out_conv = backbone.hourglass_modules[index], backbone.out_convs[index]
        if index:
            self.conv1x1, self.remap_conv = backbone.conv1x1s[index - 1], backbone.remap_convs[index - 1]
            self.relu, self.inter = backbone.relu, backbone.inters[index - 1]

    def forward(self, x: Tensor | Passed) -> Passed:
        """Map the stem's output (N, C, H, W), or the input and output of the stack before, to this one's."""
        if isinstance(x, tuple):
            x = self.inter(self.relu(self.conv1x1(x[0]) + self.remap_conv(x[1])))
        return x, self.out_conv(self.hourglass(x))


class HourglassFamily(BackboneFamily):
    """Segments: ``'stem'``, then every stack as ``'hourglass_modules.<i>'``, which can be cut between stacks only."""

    CLASSES = frozenset({'mmdet.models.backbones.hourglass.HourglassNet'})

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'HourglassNet'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        segments = [Segment(STEM, 'hourglass_modules.0', ('stem',))]
        for i in range(backbone.num_stacks):
            name = f'hourglass_modules.{i}'
            before = (f'conv1x1s.{i - 1}', f'remap_convs.{i - 1}', f'inters.{i - 1}') if i else ()
            segments.append(Segment(name, name, (*before, name, f'out_convs.{i}'), i))
        return segments

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. A map that is halved as often as an hourglass does."""
        return self._blank_image(backbone, 256, 256)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        return backbone.stem(images)

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`."""
        if segment.name == STEM:
            return super().module(backbone, segment)
        return Stack(backbone, segment.closes)

    def feature(self, x: Tensor | Passed) -> Tensor:
        """See :class:`BackboneFamily`: what the stack has made."""
        return x[1] if isinstance(x, tuple) else x

    def outputs(self, backbone: nn.Module, features: Mapping[int, Passed], x: Passed, images: Tensor) -> list[Any]:
        """See :class:`BackboneFamily`."""
        return [features[i][1] for i in sorted(features)]
