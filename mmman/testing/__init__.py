"""Tiny models, batches and runs for tests, as ``mmdet.testing`` has them."""

from .detection import tiny_batch, tiny_retinanet
from .runner import run, tiny_run_cfg
from .training import assert_same_state, build_model, optim_wrapper_for, train

__all__ = [
    'assert_same_state',
    'build_model',
    'optim_wrapper_for',
    'run',
    'tiny_batch',
    'tiny_retinanet',
    'tiny_run_cfg',
    'train',
]
