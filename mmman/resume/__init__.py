"""Training that never stopped: checkpoints with all that a run needs to go on exactly. Knows nothing of blocks."""

from .exact_checkpoint_hook import ExactCheckpointHook
from .loops import ResumableEpochBasedTrainLoop

__all__ = ['ExactCheckpointHook', 'ResumableEpochBasedTrainLoop']
