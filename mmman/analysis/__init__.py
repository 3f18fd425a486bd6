"""Analysis: what training costs and what the blocks learn."""

from .live_bytes import LiveBytes, tensors_of
from .training_step import StepBytes, TrainingStep, time_in_turn

__all__ = ['LiveBytes', 'StepBytes', 'TrainingStep', 'tensors_of', 'time_in_turn']
