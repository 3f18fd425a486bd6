"""Blocks on different devices: each process trains one stage, and hands its detached output on to the next."""

from .checkpoint_hook import PipelineCheckpointHook
from .loops import PipelineEpochBasedTrainLoop, PipelineIterBasedTrainLoop
from .pipeline_parallel import PipelineParallel

__all__ = [
    'PipelineCheckpointHook',
    'PipelineEpochBasedTrainLoop',
    'PipelineIterBasedTrainLoop',
    'PipelineParallel',
]
