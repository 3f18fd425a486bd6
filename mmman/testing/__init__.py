"""Tiny models, batches and runs for tests, as ``mmdet.testing`` has them."""

from .cases import CASES, Case, predictions
from .classification import tiny_classifier, tiny_cls_batch
from .contracts import StepAtTheEnd, auxiliaries, gradients_of_each_loss, move_ema_away
from .detection import tiny_batch, tiny_retinanet
from .runner import run, tiny_run_cfg
from .segmentation import tiny_seg_batch, tiny_segmentor
from .training import assert_same_state, build_model, optim_wrapper_for, train

__all__ = [
    'CASES',
    'Case',
    'StepAtTheEnd',
    'assert_same_state',
    'auxiliaries',
    'build_model',
    'gradients_of_each_loss',
    'move_ema_away',
    'optim_wrapper_for',
    'predictions',
    'run',
    'tiny_batch',
    'tiny_classifier',
    'tiny_cls_batch',
    'tiny_retinanet',
    'tiny_run_cfg',
    'tiny_seg_batch',
    'tiny_segmentor',
    'train',
]
