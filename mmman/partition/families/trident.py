"""TridentNet of mmdet: in its last stage three branches of other dilations share their weights."""

from torch import Tensor, nn

from ..segments import Segment
from ..states import State
from .base import STEM
from .resnet import ResNetFamily


class TridentFamily(ResNetFamily):
    """Segments: those of a ResNet. Those of the last stage pass a map for each branch, of which a local head sees one.

    The last of all lays the branches' maps behind one another, as more images.
    """

    CLASSES = frozenset({'mmdet.models.backbones.trident_resnet.TridentResNet'})

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'TridentResNet'

    def feature(self, x: State) -> Tensor:
        """See :class:`BackboneFamily`. It is the branch in the middle, which tests use."""
        return x if isinstance(x, Tensor) else x[len(x) // 2]

    def run(self, backbone: nn.Module, segment: Segment, x: State) -> State:
        """See :class:`BackboneFamily`."""
        return self.run_stem(backbone, x) if segment.name == STEM else backbone.get_submodule(segment.name)(x)

    def module(self, backbone: nn.Module, segment: Segment) -> nn.Module:
        """See :class:`BackboneFamily`. Of the last unit it gives a map for each branch, too."""
        module = super().module(backbone, segment)
        return BranchesOf(module) if getattr(module, 'concat_output', False) else module


class BranchesOf(nn.Module):
    """The last unit, with its output as the other units have it: an auxiliary network has as many images as the batch.

    Args:
        unit (nn.Module): The last unit.
    """

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """A map for each branch to another."""
        return list(self.unit(branches).chunk(len(branches)))
