"""Auxiliary networks: what stands between a block's output and its local head."""

from .momentum import MomentumAuxiliary

__all__ = ['MomentumAuxiliary']
