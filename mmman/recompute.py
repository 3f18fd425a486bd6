"""Activation checkpointing after which nothing differs but the memory."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable[[Tensor], Tensor], x: Tensor, modules: Iterable[nn.Module]) -> Tensor:
    """Call ``function`` keeping its input only; what its backward needs is computed again in time.

    ``with_cp=True`` of the toolboxes' backbones lets every batch into BatchNorm's running statistics twice, once for
    each forward. Here the second forward leaves them alone, so that training is the same to the last bit.

    Args:
        function (Callable): What to call.
        x (Tensor): Its input.
        modules (Iterable[nn.Module]): The modules that it runs.

    Returns:
        Tensor: Its output.
    """
    modules = list(modules)
    return checkpoint(function, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _StatisticsKept(modules)))


class _StatisticsKept(AbstractContextManager):
    """Inside, norm layers in training mode update copies of their buffers.

    A class and not a generator: torch enters the same one again for every backward through the graph.

    Args:
        modules (Iterable[nn.Module]): The modules that are run inside, with all that they contain.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = modules

    def __enter__(self) -> None:
        # By attribute: mmcv's own SyncBatchNorm shares no class with torch's norms.
        norms = {m for module in self.modules for m in module.modules() if getattr(m, 'track_running_stats', False)}
        self.kept = [(norm, dict(norm._buffers)) for norm in norms if norm.training]
        for norm, buffers in self.kept:
            norm._buffers.update({name: buffer.clone() for name, buffer in buffers.items()})

    def __exit__(self, *error: Any) -> None:
        # Torch leaves a recomputation by an exception as soon as it has what it needs.
        for norm, buffers in self.kept:
            norm._buffers.update(buffers)
