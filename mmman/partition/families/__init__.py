"""Backbone families: each file teaches the partition one kind of backbone."""

from .base import BackboneFamily, image_channels
from .resnet import PoolFreeResNetFamily, ResNetFamily
from .vgg import VGGFamily
from .vision_transformer import VisionTransformerFamily

# The later one is asked first: a family follows the one that it is a special case of.
FAMILIES: tuple[type[BackboneFamily], ...] = (ResNetFamily, PoolFreeResNetFamily, VGGFamily, VisionTransformerFamily)


__all__ = [
    'FAMILIES',
    'BackboneFamily',
    'PoolFreeResNetFamily',
    'ResNetFamily',
    'VGGFamily',
    'VisionTransformerFamily',
    'image_channels',
]
