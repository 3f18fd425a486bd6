"""Hooks of local learning."""

from .channels_last_hook import ChannelsLastHook
from .compile_blocks_hook import CompileBlocksHook
from .exact_checkpoint_hook import ExactCheckpointHook
from .local_loss_hook import LocalLossHook
from .recompute_hook import RecomputeHook

__all__ = ['ChannelsLastHook', 'CompileBlocksHook', 'ExactCheckpointHook', 'LocalLossHook', 'RecomputeHook']
