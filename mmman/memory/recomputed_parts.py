"""Recompute parts of a model by name, some of their calls or all."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from torch import nn

from .recompute import recompute


def recompute_part(model: nn.Module, name: str, mode: str = 'full') -> None:
    """From now on, recompute what a part of a model keeps for its backward.

    Args:
        model (nn.Module): The model.
        name (str): Qualified name of a module, or of a method that a module calls (``'bbox_head.forward_single'``).
            Behind a colon the number of a call in the model's forward pass, from 0, where it is not for all:
            ``'bbox_head.forward_single:0'`` is the largest level of a pyramid.
        mode (str): ``'full'`` or ``'selective'``; see :func:`recompute`. Defaults to ``'full'``.

    Raises:
        ValueError: If the model has no such part, or a call's number is none.
    """
    path, colon, call = name.partition(':')
    if colon and not call.isdecimal():
        raise ValueError(f'{name!r}: behind the colon stands the number of a call, from 0')
    owner, method = path.rpartition('.')[::2]
    try:
        part = attrgetter(path)(model)
        if isinstance(part, nn.Module):
            owner, method = path, 'forward'
        module = model.get_submodule(owner)
    except AttributeError as error:
        raise ValueError(f'{type(model).__name__} has no part {path!r} to recompute: {error}') from None
    if not isinstance(vars(module).get(method), _Part):
        setattr(module, method, _Part(getattr(module, method), module))
        model.register_forward_pre_hook(getattr(module, method).start)
    getattr(module, method).modes[int(call) if call else None] = mode


class _Part:
    """A method that is recomputed. A class, so that copies of the model count for themselves.

    Args:
        run (Callable): The method.
        module (nn.Module): Whose it is.

    Attributes:
        modes (dict): How a call is recomputed, by its number, or None for all others.
    """

    def __init__(self, run: Callable, module: nn.Module) -> None:
        self.run = run
        self.module = module
        self.modes: dict[int | None, str] = {}
        self.calls = 0

    def start(self, *_: Any) -> None:
        """The model's forward pass begins: its next call is the first."""
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = self.modes.get(self.calls, self.modes.get(None))
        self.calls += 1
        if mode is None:
            return self.run(*args, **kwargs)
        return recompute(partial(self.run, **kwargs), *args, modules=[self.module], mode=mode)
