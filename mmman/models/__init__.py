"""Models: the backbone that learns locally."""

from .local_backbone import LocalBackbone, LocalBlock, LocalStep, find_local_backbone

__all__ = ['LocalBackbone', 'LocalBlock', 'LocalStep', 'find_local_backbone']
