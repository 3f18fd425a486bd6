"""Proof that a family takes a backbone apart rightly (contract 11)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .families import BackboneFamily

IMAGES = 2  # BatchNorm in training mode takes no single value for a channel


def prove(family: BackboneFamily, backbone: nn.Module) -> None:
    """Refuse a backbone that is not its family's segments one after the other.

    On an example, in evaluation and, with the same random numbers, in training mode, running the segments has to give
    what the backbone's own forward pass gives, to the last bit. Nothing of the backbone changes.

    Args:
        family (BackboneFamily): The family that is to take it apart.
        backbone (nn.Module): The plain backbone.

    Raises:
        TypeError: If the outputs differ, or cannot be had.
    """
    # A copy: training mode moves running statistics. Torch has SyncBN for GPUs only, and it would wait for others.
    backbone = revert_sync_batchnorm(copy.deepcopy(backbone))
    example = family.example_input(backbone)
    images = torch.rand(IMAGES, *example.shape[1:], generator=torch.Generator().manual_seed(0)).to(example)
    for mode in (False, True):
        backbone.train(mode)
        try:
            with torch.no_grad():
                expected = _seeded(lambda: backbone(images))
                found = _seeded(lambda: _run(family, backbone, images))
        except Exception as error:
            reason = ' '.join(str(error).split())[:200]
            raise TypeError(f'{_refusal(backbone)}: {type(error).__name__}: {reason}') from error
        if not _same(expected, found):
            where = 'training' if mode else 'evaluation'
            raise TypeError(
                f'{_refusal(backbone)}: in {where} mode its forward pass is not its segments one after the other'
            )


def _refusal(backbone: nn.Module) -> str:
    return (
        f'{type(backbone).__module__}.{type(backbone).__name__} cannot be cut into blocks: train it end to end, or '
        'write a family for it (mmman/partition/families)'
    )


def _run(family: BackboneFamily, backbone: nn.Module, x: Tensor) -> Any:
    features = {}
    for segment in family.segments(backbone):
        x = family.run(backbone, segment, x)
        if segment.closes is not None:
            features[segment.closes] = x
    return family.outputs(backbone, features, x)


def _seeded(function: Callable[[], Any]) -> Any:
    """Call a function with the same random numbers every time, and leave the generators as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return function()


def _same(expected: Any, found: Any) -> bool:
    expected, found = tree_leaves(expected), tree_leaves(found)
    return len(expected) == len(found) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b
        for a, b in zip(expected, found, strict=True)
    )
