"""Cut a backbone into gradient-isolated blocks: segments (what can be cut), families (how), boundaries (where)."""

from .boundaries import Block, make_blocks, merge_frozen
from .families import BackboneFamily, image_channels
from .proof import family_of, prove
from .segments import Segment
from .states import State, TokenGrid, detached, tensors

__all__ = [
    'BackboneFamily',
    'Block',
    'Segment',
    'State',
    'TokenGrid',
    'detached',
    'family_of',
    'image_channels',
    'make_blocks',
    'merge_frozen',
    'prove',
    'tensors',
]
