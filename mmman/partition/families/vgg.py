"""VGG of mmpretrain."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..segments import Segment
from .base import BackboneFamily


class VGGFamily(BackboneFamily):
    """Segments: every convolution with its norm and activation as ``'features.<i>'``, i as VGG numbers its layers.

    A pooling layer is run with the convolution before it. The classifier, where there is one, follows the last segment:
    it learns in the last block.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.vgg.VGG'})

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`."""
        if backbone.num_classes <= 0:
            return super().example_input(backbone)
        # The classifier takes images of one size.
        pools = sum(isinstance(layer, nn.MaxPool2d) for layer in backbone.features)
        channels = [m.out_channels for m in backbone.features.modules() if isinstance(m, nn.Conv2d)][-1]
        side = int((backbone.classifier[0].in_features // channels) ** 0.5) * 2**pools
        return self._blank_image(backbone, side, side)

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'VGG of mmpretrain'

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        segments = []
        for i, (start, end) in enumerate(backbone.range_sub_modules):
            convs = [j for j in range(start, end) if not isinstance(backbone.features[j], nn.MaxPool2d)]
            for j in convs:
                name = f'features.{j}'
                closes = i if j == convs[-1] and i in backbone.out_indices else None
                segments.append(Segment(name, f'stage{i + 1}', (name,), closes))
        return segments

    def run(self, backbone: nn.Module, segment: Segment, x: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        index = int(segment.name.removeprefix('features.'))
        x = backbone.features[index](x)
        following = backbone.features[index + 1 : index + 2]
        return following(x) if following and isinstance(following[0], nn.MaxPool2d) else x

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        outputs = [features[i] for i in sorted(features)]
        if backbone.num_classes > 0:
            outputs.append(backbone.classifier(x.view(x.size(0), -1)))
        return tuple(outputs)
