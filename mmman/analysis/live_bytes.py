"""Count the bytes of live tensors: deterministic, on any machine."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensor storages that are alive, each once, as operations make them and they are freed.

    Counted are the storages given at the start and those that appear in any operation inside the context, forward,
    backward or optimizer step. What a kernel allocates and frees inside itself is not seen.

    Args:
        tensors (Iterable[Tensor]): What is alive at the start: parameters, buffers, the batch. Defaults to none.

    Attributes:
        current (int): Bytes alive now.
        peak (int): Largest value of ``current`` so far.

    Example:
        >>> with LiveBytes(model.parameters()) as live:
        ...     model.train_step(batch, optim_wrapper)
        >>> live.peak
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.current = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in tensors:
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and count its results."""
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, out)
        return out

    def reset_peak(self) -> None:
        """Let the peak start again from what is alive now."""
        self.peak = self.current

    def _see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = storage.nbytes()
        if key not in self._sizes:
            weakref.finalize(storage, self._forget, key)
        self.current += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self.peak = max(self.peak, self.current)
        return tensor

    def _forget(self, key: int) -> None:
        self.current -= self._sizes.pop(key, 0)


def tensors_of(*holders: Any) -> list[Tensor]:
    """All parameters, buffers and optimizer states of the given modules and optimizer wrappers."""
    tensors: list[Tensor] = []
    for holder in holders:
        if isinstance(holder, torch.nn.Module):
            tensors += [*holder.parameters(), *holder.buffers()]
        elif isinstance(holder, torch.optim.Optimizer):
            tensors += [v for state in holder.state.values() for v in state.values() if isinstance(v, Tensor)]
        elif hasattr(holder, 'values'):
            tensors += tensors_of(*holder.values())
        else:
            tensors += tensors_of(holder.optimizer)
    return tensors
