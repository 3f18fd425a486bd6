"""Hooks of local learning."""

from .local_loss_hook import LocalLossHook

__all__ = ['LocalLossHook']
