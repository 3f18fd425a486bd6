"""Activation checkpointing after which nothing differs but the memory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
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
    return checkpoint(function, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(modules)))


@contextmanager
def _statistics_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, BatchNorm in training mode updates copies of its buffers."""
    norms = [
        norm
        for module in modules
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
    ]
    buffers = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: buffer.clone() for name, buffer in norm._buffers.items()})
    try:
        yield
    finally:  # torch leaves a recomputation by an exception as soon as it has what it needs
        for norm, kept in zip(norms, buffers, strict=True):
            norm._buffers.update(kept)
