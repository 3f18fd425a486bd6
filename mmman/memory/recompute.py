"""Activation checkpointing after which nothing differs but the memory."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from .selective import KeepProducts, KeptProducts, UseKeptProducts

# What is kept: the input only; the results of convolutions and matrix products, too.
MODES = ('full', 'selective')


def recompute(function: Callable, *args: Any, modules: Iterable[nn.Module], mode: bool | str = 'full') -> Any:
    """Call ``function`` keeping little of it; what its backward needs is computed again in time.

    ``with_cp=True`` of the toolboxes' backbones lets every batch into BatchNorm's running statistics twice, once for
    each forward. Here the second forward leaves them alone, so that training is the same to the last bit.

    Args:
        function (Callable): What to call.
        *args: Its arguments, tensors or not.
        modules (Iterable[nn.Module]): The modules that it runs.
        mode (bool | str): ``'full'`` (or True) keeps its arguments only; ``'selective'`` the results of convolutions
            and matrix products, too, so that only norms, activations and the like are computed again. Defaults to
            ``'full'``.

    Returns:
        What it returns.
    """
    modules = list(modules)
    if mode != 'selective':
        contexts = partial(_contexts, modules)
        return checkpoint(function, *args, use_reentrant=False, context_fn=contexts)
    kept = KeptProducts()
    contexts = partial(_selective_contexts, modules, kept)
    results = checkpoint(function, *args, use_reentrant=False, context_fn=contexts)
    kept.guard(results)
    return results


def _contexts(modules: list[nn.Module]) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _StatisticsKept(modules)


def _selective_contexts(
    modules: list[nn.Module], kept: KeptProducts
) -> tuple[AbstractContextManager, AbstractContextManager]:
    return KeepProducts(kept), _Both(_StatisticsKept(modules), UseKeptProducts(kept))


class _Both(AbstractContextManager):
    """Two contexts, the first around the second; it can be entered again, as an ``ExitStack`` cannot."""

    def __init__(self, outer: AbstractContextManager, inner: AbstractContextManager) -> None:
        self.outer, self.inner = outer, inner

    def __enter__(self) -> None:
        self.outer.__enter__()
        self.inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.inner.__exit__(*error)
        self.outer.__exit__(*error)


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
