"""Engine: the per-block optimizers and the hooks that go with them."""

from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .hooks import ChannelsLastHook, CompileBlocksHook, ExactCheckpointHook, LocalLossHook, RecomputeHook
from .model_wrapper import LocalDistributedDataParallel
from .optim_wrapper import LocalOptimWrapper
from .optim_wrapper_constructor import LocalOptimWrapperConstructor
from .pipeline import (
    PipelineCheckpointHook,
    PipelineEpochBasedTrainLoop,
    PipelineIterBasedTrainLoop,
    PipelineParallel,
)

__all__ = [
    'CPUAmpOptimWrapper',
    'ChannelsLastHook',
    'CompileBlocksHook',
    'ExactCheckpointHook',
    'LocalDistributedDataParallel',
    'LocalLossHook',
    'LocalOptimWrapper',
    'LocalOptimWrapperConstructor',
    'PipelineCheckpointHook',
    'PipelineEpochBasedTrainLoop',
    'PipelineIterBasedTrainLoop',
    'PipelineParallel',
    'RecomputeHook',
]
