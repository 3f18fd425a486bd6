"""Analysis: what training costs and what the blocks learn."""

from .live_bytes import LiveBytes, tensors_of
from .step_bytes import StepBytes, measure_step

__all__ = ['LiveBytes', 'StepBytes', 'measure_step', 'tensors_of']
