"""What a backbone family must tell the partition."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..segments import Segment
from ..states import State, TokenGrid

STEM = 'stem'


class BackboneFamily(ABC):
    """Knows how to take one kind of backbone apart. Stateless: every method is given the backbone."""

    # Qualified names of the classes that it takes apart, with all that inherit from them. (By name, because importing a
    # toolbox takes seconds.) Whether it does so rightly, the proof says.
    CLASSES: frozenset[str] = frozenset()

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """Whether this is a backbone of the family's kind."""
        return any(f'{kind.__module__}.{kind.__qualname__}' in cls.CLASSES for kind in type(backbone).__mro__)

    @staticmethod
    @abstractmethod
    def describe() -> str:
        """The backbones of this family, for error messages."""

    @abstractmethod
    def segments(self, backbone: nn.Module) -> list[Segment]:
        """All segments in the order of the forward pass."""

    def run(self, backbone: nn.Module, segment: Segment, x: State) -> State:
        """Run one segment.

        Args:
            backbone (nn.Module): The backbone.
            segment (Segment): One of its segments.
            x (State): The output of the segment before it; the image batch (N, C, H, W) for the first.

        Returns:
            State: The segment's output: a feature map (N, C, H, W), tokens (N, L, C), or a structure of several.
        """
        return self.run_stem(backbone, x) if segment.name == STEM else self.module(backbone, segment)(x)

    def run_stem(self, backbone: nn.Module, images: Tensor) -> State:
        """Run the segment ``'stem'``, in families that have one: see :meth:`run`."""
        raise NotImplementedError(f'{type(self).__name__} names a segment {STEM!r}: write run_stem')

    @abstractmethod
    def outputs(self, backbone: nn.Module, features: Mapping[int, State], x: State, images: Tensor) -> Any:
        """Assemble what ``backbone.forward`` returns.

        Args:
            backbone (nn.Module): The backbone.
            features (Mapping[int, State]): Outputs of segments by what they close.
            x (State): The output of the last segment.
            images (Tensor): What the backbone was given, (N, C, H, W).
        """

    def sources_of_outputs(self, backbone: nn.Module) -> Sequence[frozenset[int]]:
        """Of each entry of what ``backbone.forward`` returns, which features it is made from.

        By default every feature makes one, in their order. What no feature makes may be left out at the end.

        Args:
            backbone (nn.Module): The backbone.
        """
        closing = sorted(s.closes for s in self.segments(backbone) if s.closes is not None)
        return [frozenset([key]) for key in closing]

    def feature(self, x: State) -> Tensor:
        """What a local head sees of a segment's output: one feature map (N, C, H, W), or tokens (N, L, C).

        Args:
            x (State): The output of a segment, or of the auxiliary network behind it.
        """
        return x.map if isinstance(x, TokenGrid) else x

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """The segment as one module that can be copied, and called with the output of the segment before it.

        It is the source of an auxiliary network. Where no submodule is all of the segment, it is a new module that has
        the submodules as its children.

        Raises:
            ValueError: If this segment is not one module (a stem).
        """
        if segment.name == STEM:
            raise ValueError('the stem is the first segment of the first block: no auxiliary network copies it')
        return backbone.get_submodule(segment.name)

    def parameters(self, backbone: nn.Module, segment: Segment) -> Iterator[nn.Parameter]:
        """The parameters that a segment owns."""
        for owned in self._owned(backbone, segment):
            yield from [owned] if isinstance(owned, nn.Parameter) else owned.parameters()

    def buffers(self, backbone: nn.Module, segment: Segment) -> Iterator[Tensor]:
        """The buffers of the submodules that a segment owns."""
        for module in self.modules(backbone, segment):
            yield from module.buffers()

    def modules(self, backbone: nn.Module, segment: Segment) -> Iterator[nn.Module]:
        """The submodules that a segment owns."""
        return (owned for owned in self._owned(backbone, segment) if isinstance(owned, nn.Module))

    @staticmethod
    def _owned(backbone: nn.Module, segment: Segment) -> Iterator[nn.Module | nn.Parameter]:
        for name in segment.owns:
            parent, _, attribute = name.rpartition('.')
            yield getattr(backbone.get_submodule(parent), attribute)

    def extra_tokens(self, backbone: nn.Module) -> int:
        """How many tokens stand before those of the patches, the class token first; 0 without one, and of maps."""
        return 0

    def example_input(self, backbone: nn.Module) -> Tensor:
        """A small image batch of one (1, C, H, W) to infer shapes with, on the backbone's device."""
        return self._blank_image(backbone, 128, 128)

    @staticmethod
    def _blank_image(backbone: nn.Module, height: int, width: int) -> Tensor:
        weight = next(p for p in backbone.parameters() if p.is_floating_point())
        return torch.zeros(1, image_channels(backbone), height, width, device=weight.device, dtype=weight.dtype)


def image_channels(network: nn.Module) -> int:
    """How many channels the images have that a network begins with.

    Args:
        network (nn.Module): A backbone, or a model with its backbone first.

    Raises:
        ValueError: If it has no convolution.
    """
    for module in network.modules():
        if type(module).__name__ == 'Focus':  # of YOLOX: it lays four neighbouring pixels on one another
            return image_channels(module.conv) // 4
        if type(module).__name__ == 'T2TModule':  # of T2T-ViT: its first norm takes windows of pixels
            return module.attention1.ln1.weight.numel() // math.prod(module.soft_split0.kernel_size)
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError(f'{type(network).__name__} has no convolution that would tell how many channels its images have')
