"""What a detector's own heads say that holds for its local heads, too."""

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from torch import nn

from .base import LocalHead


def require_classes(head: nn.Module, model: nn.Module) -> None:
    """Compare the classes of a local dense head with those of the model: RetinaNet's in a two-stage detector's config.

    A head of one class sees every object as that class, so it fits all models.

    Args:
        head (nn.Module): The dense head of a local head.
        model (nn.Module): The model; its heads are those called ``bbox_head`` (or listed there).

    Raises:
        ValueError: If the model has classes that the head does not know: their objects would be background to it.
    """
    own = getattr(head, 'num_classes', None)
    others = [
        module.num_classes
        for name, module in model.named_modules()
        if 'bbox_head' in name.split('.')[-2:] and isinstance(getattr(module, 'num_classes', None), int)
    ]
    if own in (None, 1) or not others or own == max(others):
        return
    what = (
        f'DetectionLocalHead: {type(head).__name__} has {own} classes, but the model {max(others)}: set '
        f'local_head.num_classes={max(others)}'
    )
    if own < max(others):
        raise ValueError(f'{what}. Objects of the other classes would be background to it')
    print_log(f'{what}. The other outputs learn that nothing is there', logger='current', level=logging.WARNING)


def share_gpu_assign_thr(head: nn.Module, model: nn.Module) -> None:
    """Let the assigners of a local dense head go to the CPU where those of the model do.

    For images with more than ``gpu_assign_thr`` objects, mmdet's assigners compute overlaps on the CPU, since the GPU's
    memory may not hold them. K heads have K assigners, and one that stays is enough to run out of memory. Of several
    values in the model the smallest holds. A value of the local head's own, 0 for never, stays.

    Args:
        head (nn.Module): The dense head of a local head.
        model (nn.Module): The model.
    """
    local = {module for other in model.modules() if isinstance(other, LocalHead) for module in other.modules()}
    values = [
        assigner.gpu_assign_thr
        for module in model.modules()
        if module not in local
        for assigner in _assigners(module)
        if assigner.gpu_assign_thr > 0
    ]
    if not values:
        return
    for assigner in [assigner for module in head.modules() for assigner in _assigners(module)]:
        if assigner.gpu_assign_thr < 0:
            assigner.gpu_assign_thr = min(values)


def _assigners(module: nn.Module) -> Iterator[Any]:
    """The assigners of a head that have a ``gpu_assign_thr``; a cascade has a list of them."""
    for value in vars(module).values():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(getattr(part, 'gpu_assign_thr', None), int):
                yield part
