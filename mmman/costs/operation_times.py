"""How long single operations take on this machine."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.benchmark import Timer

from .dry_run import look, span

ENOUGH = 0.01  # seconds: short operations run so long


class OperationTimes:
    """Times of operations, each measured once for arguments of one kind: sizes, strides, types.

    A step that is larger than the machine can be timed so, operation by operation: no more than the arguments and
    results of one are there at once. Operations whose work depends on values take what they take for the first ones.
    """

    def __init__(self) -> None:
        self._known: dict[tuple, float] = {}

    def seconds(self, func: Any, args: tuple, kwargs: dict) -> float:
        """Seconds that an operation takes; its arguments are copied, not changed.

        Args:
            func (Any): The operation, as a dispatch mode is given it.
            args (tuple): Its arguments.
            kwargs (dict): Its keyword arguments.
        """
        kind = (func, *map(_look, args), *((name, _look(given)) for name, given in kwargs.items()))
        if kind not in self._known:
            with _disable_current_modes():
                given, named = tree_map_only(Tensor, _copied, (args, kwargs))
                self._known[kind] = _time(func, given, named)
        return self._known[kind]


def _look(given: Any) -> Any:
    """All of an argument that an operation's time can depend on, but for values of tensors and fractions."""
    return float if isinstance(given, float) else look(given)


def _copied(x: Tensor) -> Tensor:
    """A tensor like another one, in memory of its own that has been written to."""
    if not x.numel():
        return x.clone()
    return x.as_strided((span(x.size(), x.stride()),), (1,)).clone().as_strided(x.size(), x.stride(), 0)


def _time(func: Any, args: tuple, kwargs: dict) -> float:
    timer = Timer('run()', globals=dict(run=lambda: func(*args, **kwargs)), num_threads=torch.get_num_threads())
    seconds = timer.timeit(1).mean
    number = int(ENOUGH / max(seconds, 1e-6))
    return timer.timeit(number).mean if number > 1 else seconds
