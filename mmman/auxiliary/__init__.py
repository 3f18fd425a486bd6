"""Auxiliary networks: what stands between a block's output and its local head."""

from .momentum import MomentumAuxiliary
from .two_biases import TwoBiasesAuxiliary

__all__ = ['MomentumAuxiliary', 'TwoBiasesAuxiliary']
