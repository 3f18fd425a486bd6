"""Backbone families: each file teaches the partition one kind of backbone."""

from torch import nn

from .base import BackboneFamily, image_channels
from .resnet import PoolFreeResNetFamily, ResNetFamily
from .vgg import VGGFamily
from .vision_transformer import VisionTransformerFamily

FAMILIES: tuple[type[BackboneFamily], ...] = (PoolFreeResNetFamily, ResNetFamily, VGGFamily, VisionTransformerFamily)


def family_of(backbone: nn.Module) -> BackboneFamily:
    """Find the family that can cut a backbone.

    Args:
        backbone (nn.Module): A backbone of mmdet, mmseg or mmpretrain.

    Returns:
        BackboneFamily: The family.

    Raises:
        TypeError: If no family supports it.
    """
    for family in FAMILIES:
        if family.supports(backbone):
            return family()
    raise TypeError(
        f'{type(backbone).__module__}.{type(backbone).__name__} cannot be cut into blocks; supported: '
        + '; '.join(family.describe() for family in FAMILIES)
        + '. A new family is one small file in mmman/partition/families'
    )


__all__ = [
    'FAMILIES',
    'BackboneFamily',
    'PoolFreeResNetFamily',
    'ResNetFamily',
    'VGGFamily',
    'VisionTransformerFamily',
    'family_of',
    'image_channels',
]
