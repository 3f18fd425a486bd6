"""Local heads: what turns a block's output and its auxiliary's into the block's own loss."""

from .base import BlockOutput, LocalHead
from .detection import DetectionLocalHead

__all__ = ['BlockOutput', 'DetectionLocalHead', 'LocalHead']
