"""What a backbone family must tell the partition."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..segments import Segment


class BackboneFamily(ABC):
    """Knows how to take one kind of backbone apart. Stateless: every method is given the backbone."""

    @classmethod
    @abstractmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """Whether running this family's segments in order equals ``backbone.forward``."""

    @staticmethod
    @abstractmethod
    def describe() -> str:
        """The backbones of this family, for error messages."""

    @abstractmethod
    def segments(self, backbone: nn.Module) -> list[Segment]:
        """All segments in the order of the forward pass."""

    @abstractmethod
    def run(self, backbone: nn.Module, segment: Segment, x: Tensor) -> Tensor:
        """Run one segment.

        Args:
            backbone (nn.Module): The backbone.
            segment (Segment): One of its segments.
            x (Tensor): The output of the segment before it; the image batch (N, C, H, W) for the first.

        Returns:
            Tensor: The segment's output.
        """

    @abstractmethod
    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """The segment as one module that can be copied and called: the source of an auxiliary network.

        Raises:
            ValueError: If this segment is not one module (a stem).
        """

    @abstractmethod
    def outputs(self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor) -> Any:
        """Assemble what ``backbone.forward`` returns.

        Args:
            backbone (nn.Module): The backbone.
            features (Mapping[int, Tensor]): Feature maps by the ``out_indices`` entry they belong to.
            x (Tensor): The output of the last segment.
        """

    @abstractmethod
    def example_input(self, backbone: nn.Module) -> Tensor:
        """A small image batch of one (1, C, H, W) to infer shapes with, on the backbone's device."""
