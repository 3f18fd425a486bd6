"""Hooks: local losses in the log; recomputation, compilation and memory layout of what is trained."""

from .channels_last_hook import ChannelsLastHook
from .compile_blocks_hook import CompileBlocksHook
from .local_loss_hook import LocalLossHook
from .recompute_hook import RecomputeHook

__all__ = ['ChannelsLastHook', 'CompileBlocksHook', 'LocalLossHook', 'RecomputeHook']
