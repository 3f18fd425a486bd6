"""What a training step costs: live bytes, FLOPs and time, of a whole step and of its parts."""

from .dry_run import CannotRunDry, DryRun
from .live_bytes import LiveBytes, tensors_of
from .measured_costs import measure_parts
from .training_step import StepBytes, StepInBackward, TrainingStep

__all__ = [
    'CannotRunDry',
    'DryRun',
    'LiveBytes',
    'StepBytes',
    'StepInBackward',
    'TrainingStep',
    'measure_parts',
    'tensors_of',
]
