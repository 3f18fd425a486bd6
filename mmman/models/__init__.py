"""Models: the backbone that learns locally."""

from .detached_heads import check_heads
from .local_backbone import LocalBackbone, find_local_backbone, name_of
from .local_block import LocalBlock
from .local_step import LocalStep, normalisation_of

__all__ = [
    'LocalBackbone',
    'LocalBlock',
    'LocalStep',
    'check_heads',
    'find_local_backbone',
    'name_of',
    'normalisation_of',
]
