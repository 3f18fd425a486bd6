"""Hooks of local learning."""

from .exact_checkpoint_hook import ExactCheckpointHook
from .local_loss_hook import LocalLossHook

__all__ = ['ExactCheckpointHook', 'LocalLossHook']
