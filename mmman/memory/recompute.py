"""Activation checkpointing after which nothing differs but the memory."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable, *args: Any, modules: Iterable[nn.Module]) -> Any:
    """Call ``function`` keeping its arguments only; what its backward needs is computed again in time.

    ``with_cp=True`` of the toolboxes' backbones lets every batch into BatchNorm's running statistics twice, once for
    each forward. Here the second forward leaves them alone, so that training is the same to the last bit.

    Args:
        function (Callable): What to call.
        *args: Its arguments, tensors or not.
        modules (Iterable[nn.Module]): The modules that it runs.

    Returns:
        What it returns.
    """
    modules = list(modules)
    contexts = partial(_contexts, modules)
    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


def recompute_part(model: nn.Module, name: str) -> None:
    """From now on, recompute what a part of a model keeps for its backward.

    Args:
        model (nn.Module): The model.
        name (str): Qualified name of a module, or of a method that a module calls (``'bbox_head.forward_single'``).

    Raises:
        ValueError: If the model has no such part.
    """
    owner, method = name.rpartition('.')[::2]
    try:
        part = attrgetter(name)(model)
        if isinstance(part, nn.Module):
            owner, method = name, 'forward'
        module = model.get_submodule(owner)
    except AttributeError as error:
        raise ValueError(f'{type(model).__name__} has no part {name!r} to recompute: {error}') from None
    if method not in vars(module):  # once is enough
        setattr(module, method, partial(recompute, getattr(module, method), modules=[module]))


def _contexts(modules: list[nn.Module]) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _StatisticsKept(modules)


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
