"""Names that lay here up to version 0.1; configs of that time go on. New ones import them from ``mmman``."""

from .hooks import ChannelsLastHook, CompileBlocksHook, LocalLossHook, RecomputeHook
from .optim import CPUAmpOptimWrapper, LocalDistributedDataParallel, LocalOptimWrapper, LocalOptimWrapperConstructor
from .pipeline import (
    PipelineCheckpointHook,
    PipelineEpochBasedTrainLoop,
    PipelineIterBasedTrainLoop,
    PipelineParallel,
)
from .resume import ExactCheckpointHook

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
