"""Hooks of local learning."""

from .exact_checkpoint_hook import ExactCheckpointHook
from .local_loss_hook import LocalLossHook
from .recompute_hook import RecomputeHook

__all__ = ['ExactCheckpointHook', 'LocalLossHook', 'RecomputeHook']
