"""Tiny models and batches for tests, as ``mmdet.testing`` has them."""

from .cases import CASES, Case
from .classification import tiny_classifier, tiny_cls_batch
from .detection import tiny_batch, tiny_retinanet
from .family_cases import FAMILY_CASES
from .segmentation import tiny_seg_batch, tiny_segmentor

__all__ = [
    'CASES',
    'FAMILY_CASES',
    'Case',
    'tiny_batch',
    'tiny_classifier',
    'tiny_cls_batch',
    'tiny_retinanet',
    'tiny_seg_batch',
    'tiny_segmentor',
]
