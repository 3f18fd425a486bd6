"""Auxiliary networks: what stands between a block's output and its local head."""

from .base import AuxiliaryNetwork
from .momentum import MomentumAuxiliary
from .two_biases import TwoBiasesAuxiliary

__all__ = ['AuxiliaryNetwork', 'MomentumAuxiliary', 'TwoBiasesAuxiliary']
