"""Local heads: what turns a block's output and its auxiliary's into the block's own loss.

The host method is this choice, and nothing else.
"""

from .auglocal import AugLocalHead
from .base import BlockOutput, LocalHead, Position
from .classification import ClassificationLocalHead
from .contrastive import ContrastiveHead
from .detection import DetectionLocalHead
from .dgl import DGLLocalHead
from .infopro import InfoProLocalHead
from .infopro_classifier import InfoProClassifier
from .predsim import PredSimLocalHead
from .segmentation import SegmentationLocalHead

__all__ = [
    'AugLocalHead',
    'BlockOutput',
    'ClassificationLocalHead',
    'ContrastiveHead',
    'DGLLocalHead',
    'DetectionLocalHead',
    'InfoProClassifier',
    'InfoProLocalHead',
    'LocalHead',
    'Position',
    'PredSimLocalHead',
    'SegmentationLocalHead',
]
