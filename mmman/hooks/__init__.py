"""Hooks: local losses in the log; recomputation, compilation and memory layout of what is trained; its plan."""

from .channels_last_hook import ChannelsLastHook
from .compile_blocks_hook import CompileBlocksHook
from .local_loss_hook import LocalLossHook
from .plan_hook import PlanHook
from .recompute_hook import RecomputeHook

__all__ = ['ChannelsLastHook', 'CompileBlocksHook', 'LocalLossHook', 'PlanHook', 'RecomputeHook']
