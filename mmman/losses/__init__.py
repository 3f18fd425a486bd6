"""Losses of the toolboxes that keep less alive between forward and backward: same arguments, values and gradients."""

from .lean_cross_entropy import LeanCrossEntropyLoss
from .lean_focal_loss import LeanFocalLoss

__all__ = ['LeanCrossEntropyLoss', 'LeanFocalLoss']
