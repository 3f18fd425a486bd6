"""Backbone families: each file teaches the partition one kind of backbone."""

from .base import BackboneFamily, image_channels
from .chain import ChainFamily
from .detectors import DetectoRSFamily
from .hourglass import HourglassFamily
from .hrnet import HRNetFamily
from .icnet import ICNetFamily
from .multiscale_transformers import MViTFamily
from .pyramid_transformers import MSCANFamily, PVTFamily, TwinsFamily, VANFamily
from .resnet import PoolFreeResNetFamily, ResNetFamily
from .swin import SwinFamily, SwinV2Family
from .token_transformers import BEiTFamily, EVA02Family, SegmentationBEiTFamily, SegmentationViTFamily, XCiTFamily
from .trident import TridentFamily
from .two_streams import ConformerFamily, TNTFamily
from .unet import UNetFamily
from .vgg import VGGFamily
from .vision_transformer import VisionTransformerFamily

# The later one is asked first: a family follows the one that it is a special case of. What none of them is proven for
# may be a chain (ChainFamily).
FAMILIES: tuple[type[BackboneFamily], ...] = (
    ResNetFamily,
    PoolFreeResNetFamily,
    DetectoRSFamily,
    TridentFamily,
    VGGFamily,
    HRNetFamily,
    HourglassFamily,
    UNetFamily,
    ICNetFamily,
    VisionTransformerFamily,
    EVA02Family,
    BEiTFamily,
    XCiTFamily,
    SegmentationViTFamily,
    SegmentationBEiTFamily,
    SwinFamily,
    SwinV2Family,
    PVTFamily,
    TwinsFamily,
    MSCANFamily,
    VANFamily,
    MViTFamily,
    ConformerFamily,
    TNTFamily,
)


__all__ = [
    'FAMILIES',
    'BEiTFamily',
    'BackboneFamily',
    'ChainFamily',
    'ConformerFamily',
    'DetectoRSFamily',
    'EVA02Family',
    'HRNetFamily',
    'HourglassFamily',
    'ICNetFamily',
    'MSCANFamily',
    'MViTFamily',
    'PVTFamily',
    'PoolFreeResNetFamily',
    'ResNetFamily',
    'SegmentationBEiTFamily',
    'SegmentationViTFamily',
    'SwinFamily',
    'SwinV2Family',
    'TNTFamily',
    'TridentFamily',
    'TwinsFamily',
    'UNetFamily',
    'VANFamily',
    'VGGFamily',
    'VisionTransformerFamily',
    'XCiTFamily',
    'image_channels',
]
