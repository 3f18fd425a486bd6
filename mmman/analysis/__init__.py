"""Analysis: what training costs and what the blocks learn."""

from .live_bytes import LiveBytes, tensors_of

__all__ = ['LiveBytes', 'tensors_of']
