"""Keep less: recomputation, and losses of mmdet and mmseg that keep their inputs only."""

from .lean_cross_entropy import LeanCrossEntropyLoss
from .lean_focal_loss import LeanFocalLoss
from .recompute import recompute
from .recomputed_parts import recompute_part

__all__ = ['LeanCrossEntropyLoss', 'LeanFocalLoss', 'recompute', 'recompute_part']
