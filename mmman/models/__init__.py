"""Models: the backbone that learns locally."""

from .checkpoint_loading import local_prefixes
from .detached_heads import check_heads
from .local_backbone import LocalBackbone
from .local_branch import LocalBranch
from .local_learning import LocalLearning
from .local_step import LocalStep, normalisation_of
from .lookup import find_local_backbone, unwrapped
from .raw_images import see_raw_images

__all__ = [
    'LocalBackbone',
    'LocalBranch',
    'LocalLearning',
    'LocalStep',
    'check_heads',
    'find_local_backbone',
    'local_prefixes',
    'normalisation_of',
    'see_raw_images',
    'unwrapped',
]
