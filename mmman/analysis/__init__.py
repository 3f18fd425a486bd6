"""Analysis: what training costs and what the blocks learn."""

from .dry_run import DryRun
from .live_bytes import LiveBytes, tensors_of
from .part_costs import measure_parts
from .planner import Plan, Planner
from .training_step import StepBytes, StepInBackward, TrainingStep

__all__ = [
    'DryRun',
    'LiveBytes',
    'Plan',
    'Planner',
    'StepBytes',
    'StepInBackward',
    'TrainingStep',
    'measure_parts',
    'tensors_of',
]
