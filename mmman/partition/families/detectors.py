"""DetectoRS of mmdet, whose backbone may hand on the images to a recursive pyramid."""

from collections.abc import Mapping

from torch import Tensor, nn

from .resnet import ResNetFamily


class DetectoRSFamily(ResNetFamily):
    """Segments: those of a ResNet."""

    CLASSES = frozenset(
        f'mmdet.models.backbones.detectors_{name}' for name in ('resnet.DetectoRS_ResNet', 'resnext.DetectoRS_ResNeXt')
    )

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return 'DetectoRS_ResNet, DetectoRS_ResNeXt'

    def sources_of_outputs(self, backbone: nn.Module) -> list[frozenset[int]]:
        """See :class:`BackboneFamily`."""
        images = [frozenset()] if backbone.output_img else []
        return images + list(super().sources_of_outputs(backbone))

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        outs = super().outputs(backbone, features, x, images)
        return (images, *outs) if backbone.output_img else outs
